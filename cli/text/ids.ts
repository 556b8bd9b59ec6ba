/** DIDs, ids of statements, PeerIds and keys, cut short where each is still told from every other one beside it. */

/** What all of a kind begin with: it tells nothing apart. */
const HEADS = /^(?:did:mesh:bafyrei|did:key:z6Mk|bafyrei|12D3KooW|z6Mk)/;
const TAIL_MIN = 6; // letters after that: 30 bits, which no list here has twice by accident

export const isLongId = (text: string): boolean => HEADS.test(text) && text.length > 40;

/** Of each id the shortest beginning that is its own among `ids`, with "…"; other texts as they are. */
export function shortenIds(ids: Iterable<string>): ReadonlyMap<string, string> {
  const all = [...new Set(ids)].filter(isLongId);
  return new Map(all.map((id) => [id, shorten(id, all)]));
}

function shorten(id: string, all: readonly string[]): string {
  let length = (HEADS.exec(id)?.[0].length ?? 0) + TAIL_MIN;
  while (length < id.length && all.some((other) => other !== id && other.startsWith(id.slice(0, length)))) length += 1;
  return length + 1 < id.length ? `${id.slice(0, length)}…` : id;
}
