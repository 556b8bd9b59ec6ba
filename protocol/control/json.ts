import { MeshError } from '../errors.ts';

/** What JSON.parse would let pass: a member named twice (the last wins), `__proto__`, half a surrogate pair, any depth. */
export function parseJsonStrict(text: string, depthMax: number): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The engine's message quotes the text, which may hold a secret.
    throw new MeshError('bad_request', 'Cannot read the body: it is not JSON', { field: '' });
  }
  verifyMembers(text, depthMax);
  return value;
}

/** Walks the tokens of what is known to be JSON. Errors: bad_request. */
function verifyMembers(text: string, depthMax: number): void {
  const open: (Set<string> | undefined)[] = []; // names seen in each open object; undefined for an array
  for (let i = 0; i < text.length; i++) {
    const letter = text.charAt(i);
    if (letter === '{' || letter === '[') {
      open.push(letter === '{' ? new Set() : undefined);
      if (open.length > depthMax) throw refused(`it is nested deeper than ${depthMax} levels`);
    } else if (letter === '}' || letter === ']') {
      open.pop();
    } else if (letter === '"') {
      const end = endOfString(text, i);
      const string = JSON.parse(text.slice(i, end)) as string;
      if (!string.isWellFormed()) throw refused('a text in it is not Unicode');
      if (isColonNext(text, end)) verifyName(string, open.at(-1));
      i = end - 1;
    }
  }
}

function verifyName(name: string, seen: Set<string> | undefined): void {
  const shown = name.slice(0, 64);
  if (name === '__proto__') throw refused(`a member is named "${shown}"`);
  if (seen?.has(name)) throw refused(`the member "${shown}" is there twice`, shown);
  seen?.add(name);
}

/** Position after the closing quote. */
function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (text.charAt(i) !== '"') i += text.charAt(i) === '\\' ? 2 : 1;
  return i + 1;
}

function isColonNext(text: string, from: number): boolean {
  let i = from;
  while (/[ \t\r\n]/.test(text.charAt(i))) i++;
  return text.charAt(i) === ':';
}

const refused = (why: string, field = ''): MeshError =>
  new MeshError('bad_request', `Cannot accept the body: ${why}`, { field });
