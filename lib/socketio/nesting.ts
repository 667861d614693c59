// How deep a value is nested, found without recursion.

/** How a placeholder begins, as `socket.io-parser` writes it. */
const PLACEHOLDER = '{"_placeholder":true,"num":';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Containers within each other in JSON text that was made here. A placeholder is none: it stands for bytes. */
export function depthOfText(text: string, hasPlaceholders: boolean): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case 0x7b: // {
        if (hasPlaceholders && text.startsWith(PLACEHOLDER, at)) at = text.indexOf('}', at);
        else deepest = Math.max(deepest, ++depth);
        break;
      case 0x5b: // [
        deepest = Math.max(deepest, ++depth);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        depth -= 1;
    }
  }
  return deepest;
}

/** Where the string ends that begins at a quote. */
function endOfString(text: string, start: number): number {
  let end = start;
  let escapes: number;
  do {
    end = text.indexOf('"', end + 1);
    escapes = 0;
    while (text.charCodeAt(end - 1 - escapes) === BACKSLASH) escapes += 1;
  } while (escapes % 2 === 1);
  return end;
}

/** Whether a value has more containers within each other than `most`. One that contains itself has not. */
export function isNestedDeeper(value: unknown, most: number): boolean {
  const open: { container: object; around: Iterator<unknown> }[] = [];
  const containers = new Set<object>();
  let contents: Iterator<unknown> = [value].values();
  for (;;) {
    const { value: next, done } = contents.next();
    if (done) {
      const inner = open.pop();
      if (inner === undefined) return false;
      containers.delete(inner.container);
      contents = inner.around;
    } else if (isContainer(next)) {
      if (containers.has(next)) return false;
      if (open.length === most) return true;
      open.push({ container: next, around: contents });
      containers.add(next);
      contents = (hasToJson(next) ? [next.toJSON()] : Object.values(next)).values();
    }
  }
}

function hasToJson(value: object): value is { toJSON(): unknown } {
  return 'toJSON' in value && typeof value.toJSON === 'function';
}

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !(ArrayBuffer.isView(value) || value instanceof ArrayBuffer);
}
