/** The log as a file of lines, for tools that read those. */
import { open, rename } from 'node:fs/promises';
import { encodeJcs } from '../protocol/index.ts';
import {
  type Leaf,
  leafHash,
  parseEntry,
  type ParsedEntry,
  toCloudEventLine,
  toJsonLine,
  toOcsfLine,
} from '../protocol/log/index.ts';
import { removeDraft, writingProblem } from './files.ts';
import type { Mesh } from './mesh.ts';
import type { Output } from './world.ts';

const LINES = {
  /** Each with its place in the log. */
  jsonl: toJsonLine,
  /** As it is: an entry is a CloudEvent. */
  cloudevents: toCloudEventLine,
  ocsf: toOcsfLine,
} as const satisfies Record<string, (entry: ParsedEntry, leaf: Leaf) => string>;

export type ExportFormat = keyof typeof LINES;
export const EXPORT_FORMATS = Object.keys(LINES) as [ExportFormat, ...ExportFormat[]];

/** Oldest first; a file has its name once it is whole. Returns how many. */
export async function writeLines(
  mesh: Mesh,
  format: ExportFormat,
  target: Output | string,
  signal: AbortSignal,
): Promise<number> {
  const lines = linesOf(mesh, format, signal);
  return typeof target === 'string' ? writeFile(target, lines) : writeOut(target, lines);
}

async function* linesOf(mesh: Mesh, format: ExportFormat, signal: AbortSignal): AsyncGenerator<string> {
  const { origin } = await mesh.call('logStatus');
  for await (const { index, entry } of mesh.client.log.entries({ order: 'oldest' }, { signal })) {
    // Canonical JSON has one spelling: encoding it again gives the bytes that were hashed, or refuses.
    const parsed = parseEntry(encodeJcs(entry));
    yield `${LINES[format](parsed, { origin, index, leafHash: leafHash(parsed.bytes) })}\n`;
  }
}

async function writeOut(out: Output, lines: AsyncIterable<string>): Promise<number> {
  let count = 0;
  for await (const line of lines) {
    out.write(line);
    count += 1;
  }
  return count;
}

async function writeFile(path: string, lines: AsyncIterable<string>): Promise<number> {
  const draft = `${path}.new`;
  let count = 0;
  try {
    await using handle = await open(draft, 'w', 0o600);
    for await (const line of lines) {
      await handle.write(line);
      count += 1;
    }
    await handle.sync();
    await rename(draft, path);
    return count;
  } catch (error) {
    await removeDraft(draft);
    throw writingProblem(path, error);
  }
}
