/** Build and change elements: text is always text, never markup, and nothing carries inline style or code. */

const SVG = "http://www.w3.org/2000/svg";

/** Give an element its attributes: `text`, `on` (listeners by event), anything else as an attribute; null leaves out. */
function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return node;
}

/** Return a new HTML element. */
export function el(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

/** Return a new SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

/** Return the element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/** Change a text only where it differs, so that what stands still is left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Change an attribute only where it differs; null removes it. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** Show or hide. */
export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/**
 * A list whose nodes are kept by key and changed in place.
 *
 * While the pointer or the focus is inside, nothing moves: what is new is added at the end, what is gone
 * stays, marked, and the order waits.
 */
export class KeyedList {
  /**
   * @param {Element} container where the nodes live
   * @param {(key: string) => {node: Element, update: (item: any) => void}} create
   */
  constructor(container, create) {
    this.container = container;
    this.create = create;
    this.parts = new Map();
  }

  /** Whether somebody points at an item, or is inside by keyboard. */
  get held() {
    return this.container.contains(document.activeElement) || this.container.matches(":hover");
  }

  /** Show these items, given as [key, item] in the wanted order; `force` moves even what is held. */
  render(items, force = false) {
    const held = this.held && !force;
    const wanted = new Map(items);
    for (const [key, part] of this.parts) {
      if (wanted.has(key)) continue;
      part.node.classList.toggle("gone", held);
      if (!held) {
        part.node.remove();
        this.parts.delete(key);
      }
    }
    let before = this.container.firstElementChild;
    for (const [key, item] of items) {
      let part = this.parts.get(key);
      const fresh = part === undefined;
      if (fresh) this.parts.set(key, (part = this.create(key)));
      part.node.classList.remove("gone");
      part.update(item);
      if (held) {
        if (fresh) this.container.append(part.node);
      } else if (part.node === before) before = before.nextElementSibling;
      else this.container.insertBefore(part.node, before);
    }
  }

  /** Return the part of a key, or undefined. */
  get(key) {
    return this.parts.get(key);
  }

  /** Forget everything. */
  clear() {
    for (const part of this.parts.values()) part.node.remove();
    this.parts.clear();
  }
}
