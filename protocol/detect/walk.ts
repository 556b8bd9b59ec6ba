/** All texts of a JSON value under the detectors. */
import type { Json, JsonObject } from '../encoding/jcs.ts';
import { JOINED_TEXT_MAX } from '../limits.ts';
import type { Finding, Span } from './finding.ts';
import { scanText } from './text.ts';

/** Where a value is; written out only where something is found. */
export interface Place {
  readonly parent: Place | undefined;
  readonly name: string | number;
}
export function pointerOf(place: Place | undefined): string {
  const parts: string[] = [];
  for (let at = place; at !== undefined; at = at.parent)
    parts.push(String(at.name).replaceAll('~', '~0').replaceAll('/', '~1'));
  return parts.length === 0 ? '' : `/${parts.reverse().join('/')}`;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isList = (value: Json): value is readonly Json[] => Array.isArray(value);

/** Names of members repeat; those without findings are remembered for one value. */
const NAMES_KEPT_MAX = 1024;
export class NameScanner {
  readonly #clean = new Set<string>();

  spansOf(name: string): readonly Span[] {
    if (this.#clean.has(name)) return [];
    const { spans } = scanText(name);
    if (spans.length === 0 && this.#clean.size < NAMES_KEPT_MAX) this.#clean.add(name);
    return spans;
  }
}

interface Binary {
  readonly name: 'data' | 'blob';
  /** What it holds, where its type says that it is text in UTF-8. */
  readonly text: string | undefined;
}

const TEXT_TYPE = /^(?:text\/|application\/(?:[\w.-]+\+)?(?:json|xml|yaml|toml|javascript|x-sh|sql)\b)/i;
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

/**
 * The member of an MCP content block that is bytes in base64: `data` of images and audio, `blob` of resources. It is no
 * text and not looked at as such; where its type is one of texts, the text inside is. What is not base64 is text after all.
 */
export function binaryOf(value: JsonObject): Binary | undefined {
  const isMedia = value.type === 'image' || value.type === 'audio';
  const name = isMedia ? 'data' : 'blob';
  const content = value[name];
  if (typeof content !== 'string' || (!isMedia && typeof value.uri !== 'string')) return undefined;
  if (!BASE64.test(content)) return undefined;
  const isText = typeof value.mimeType === 'string' && TEXT_TYPE.test(value.mimeType);
  if (!isText) return { name, text: undefined };
  const text = decodeBase64(content);
  return text === undefined ? undefined : { name, text };
}

function decodeBase64(content: string): string | undefined {
  try {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(
      Uint8Array.from(atob(content), (byte) => byte.charCodeAt(0)),
    );
  } catch {
    return undefined; // padding in the wrong place: then it is scanned as it stands
  }
}
export function encodeBase64(text: string): string {
  const parts: string[] = [];
  const bytes = new TextEncoder().encode(text);
  for (let i = 0; i < bytes.length; i += 8190) parts.push(btoa(String.fromCharCode(...bytes.subarray(i, i + 8190))));
  return parts.join('');
}

const textOfBlock = (value: Json | undefined): string | undefined =>
  isObject(value) && value.type === 'text' && typeof value.text === 'string' ? value.text : undefined;

interface Piece {
  readonly block: number;
  readonly start: number;
  readonly text: string;
}

/**
 * What is found across the borders of text blocks that follow each other, as a key that was cut in two: by block, its
 * part. Of long blocks the JOINED_TEXT_MAX units beside the border are joined; what needs more is not seen. So is what
 * has something else between its parts, or stands in members other than `text`.
 */
export function joinedSpans(list: readonly Json[]): Map<number, Span[]> {
  const found = new Map<number, Span[]>();
  let pieces: Piece[] = [];
  const flush = (): void => {
    if (pieces.length > 1) addCrossing(pieces, found);
    pieces = [];
  };
  for (let block = 0; block < list.length; block++) {
    const text = textOfBlock(list[block]);
    if (text === undefined) flush();
    else if (text.length <= 2 * JOINED_TEXT_MAX) pieces.push({ block, start: 0, text });
    else {
      pieces.push({ block, start: 0, text: text.slice(0, JOINED_TEXT_MAX) });
      flush();
      const start = text.length - JOINED_TEXT_MAX;
      pieces.push({ block, start, text: text.slice(start) });
    }
  }
  flush();
  return found;
}

function addCrossing(pieces: readonly Piece[], found: Map<number, Span[]>): void {
  const { spans } = scanText(pieces.map(({ text }) => text).join(''));
  const alone = new Map<Piece, readonly Span[]>();
  let piece = 0;
  let offset = 0;
  for (const { label, start, end } of spans) {
    // Spans are sorted by start, so the pieces are gone through once.
    while (piece < pieces.length && start >= offset + (pieces[piece] as Piece).text.length) {
      offset += (pieces[piece] as Piece).text.length;
      piece++;
    }
    if (end <= offset + (pieces[piece]?.text.length ?? 0)) continue;
    if (isWhole(pieces[piece], alone, label, start - offset)) continue;
    for (let k = piece, at = offset; k < pieces.length && at < end; k++) {
      const { block, start: from, text } = pieces[k] as Piece;
      const part = { label, start: Math.max(start - at, 0) + from, end: Math.min(end - at, text.length) + from };
      const parts = found.get(block);
      if (part.end > part.start) {
        if (parts === undefined) found.set(block, [part]);
        else parts.push(part);
      }
      at += text.length;
    }
  }
}

/** Found in its block already, where what follows in the next one is likelier another text than its rest. */
function isWhole(piece: Piece | undefined, alone: Map<Piece, readonly Span[]>, label: string, start: number): boolean {
  if (piece === undefined) return false;
  const spans = alone.get(piece) ?? scanText(piece.text).spans;
  alone.set(piece, spans);
  return spans.some((span) => span.label === label && span.start === start);
}

interface Visit {
  readonly value: Json;
  readonly place: Place | undefined;
  readonly joined?: readonly Span[];
}

/** In the order of the value; without recursion, however deep it is. */
export function scanValue(value: Json, onFinding: (finding: Finding) => void): void {
  const names = new NameScanner();
  const stack: Visit[] = [{ value, place: undefined }];
  const report = (spans: readonly Span[], place: Place | undefined, inName = false): void => {
    for (const span of spans) onFinding({ ...span, path: pointerOf(place), ...(inName && { inName }) });
  };
  for (let visit = stack.pop(); visit !== undefined; visit = stack.pop()) {
    const { value: current, place, joined } = visit;
    if (typeof current === 'string') report(scanText(current).spans, place);
    else if (typeof current === 'object' && current !== null) {
      if (joined !== undefined) report(joined, { parent: place, name: 'text' });
      const next: Visit[] = [];
      if (isList(current)) {
        const crossing = joinedSpans(current);
        for (const [name, item] of current.entries()) {
          const parts = crossing.get(name);
          next.push({ value: item, place: { parent: place, name }, ...(parts && { joined: parts }) });
        }
      } else {
        const binary = binaryOf(current);
        for (const [name, member] of Object.entries(current)) {
          const inside = { parent: place, name };
          report(names.spansOf(name), inside, true);
          if (name !== binary?.name) next.push({ value: member, place: inside });
          else if (binary.text !== undefined) next.push({ value: binary.text, place: inside });
        }
      }
      for (let i = next.length - 1; i >= 0; i--) stack.push(next[i] as Visit);
    }
  }
}
