/** Texts that may be long and hostile: every comparison here takes time linear in both. */

/** As `a < b ? -1 : …`, by code points: UTF-16 puts U+10000 and above before U+E000. */
export function compareTexts(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  let at = 0;
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  if (at === length) return a.length - b.length;
  const [x, y] = [a.charCodeAt(at), b.charCodeAt(at)];
  const [isPairX, isPairY] = [isSurrogate(x), isSurrogate(y)];
  return isPairX === isPairY ? x - y : isPairX ? 1 : -1;
}
const isSurrogate = (unit: number): boolean => (unit & 0xf800) === 0xd800;

/** In code points, as CEL counts. */
export function textSize(text: string): number {
  let size = text.length;
  for (let at = 0; at < text.length - 1; at++)
    if ((text.charCodeAt(at) & 0xfc00) === 0xd800 && (text.charCodeAt(at + 1) & 0xfc00) === 0xdc00) {
      size--;
      at++;
    }
  return size;
}

/** The engine's own search is fast, but takes the product of both lengths where texts are made for it. */
const PRODUCT_MAX = 2 ** 16;

/** `text.includes(part)`, by Knuth, Morris and Pratt (SIAM J. Comput. 6, 1977) where that could be slow. */
export function isInside(text: string, part: string): boolean {
  if (part.length > text.length) return false;
  if (part.length < 4 || part.length * text.length <= PRODUCT_MAX) return text.includes(part);
  const borders = bordersOf(part);
  let matched = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    while (matched > 0 && unit !== part.charCodeAt(matched)) matched = borders[matched - 1] ?? 0;
    if (unit === part.charCodeAt(matched) && ++matched === part.length) return true;
  }
  return false;
}

/** Of each start of it, the length of the longest shorter start that it ends with. */
function bordersOf(part: string): Uint32Array {
  const borders = new Uint32Array(part.length);
  let matched = 0;
  for (let at = 1; at < part.length; at++) {
    const unit = part.charCodeAt(at);
    while (matched > 0 && unit !== part.charCodeAt(matched)) matched = borders[matched - 1] ?? 0;
    if (unit === part.charCodeAt(matched)) matched++;
    borders[at] = matched;
  }
  return borders;
}

/** Undefined: not an absolute path whose every segment names something, so that nothing can be said of it. */
export function isUnder(path: string, directory: string): boolean | undefined {
  if (!isCanonicalPath(path)) return undefined;
  return (
    path.startsWith(directory) && (path.length === directory.length || path.charCodeAt(directory.length) === SLASH)
  );
}
const SLASH = 0x2f;

/** `/`, `/a/b`, `C:/a`; a slash may be at the end. Backslashes separate on some systems and not on others. */
export function isCanonicalPath(path: string): boolean {
  const isAbsolute = path.charCodeAt(0) === SLASH || /^[A-Za-z]:\//.test(path);
  return (
    isAbsolute &&
    !path.includes('//') &&
    !path.includes('/./') &&
    !path.includes('/../') &&
    !path.includes('\\') &&
    !path.includes('\0') &&
    !path.endsWith('/.') &&
    !path.endsWith('/..')
  );
}
