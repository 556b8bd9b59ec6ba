/** What a peer sends on a stream of calls: single frames, and frames one after the other with bodies in parts. */
import { BodyAssembly } from '../../daemon/core/calls/body-assembly.ts';
import { ByteBudget } from '../../daemon/core/calls/byte-budget.ts';
import { encodeCallFrame, encodePartFrame, parseCallFrame } from '../../protocol/call/index.ts';
import { type Cbor, concatBytes, decodeCbor, encodeCbor, limits, MeshError } from '../../protocol/index.ts';
import { encoded, FRAMES, largeMessage } from '../protocol/call/worked-example.ts';
import type { FuzzedParser } from './parsers.ts';
import type { SeededRandom } from './random.ts';
import { CBOR } from './structure.ts';

const frames = Object.keys(FRAMES).map(encoded);

/** Whatever a frame carries is written again as it was read. */
function parseAgain(bytes: Uint8Array): void {
  const parsed = parseCallFrame(bytes);
  const again =
    'part' in parsed
      ? concatBytes(...encodePartFrame(parsed.part.m, parsed.part.bytes))
      : encodeCallFrame(parsed.frame, parsed.body);
  if (Buffer.compare(again, bytes) !== 0) throw new Error('a frame was read that is written in another way');
}

/** A CBOR list of frames, as they would come; nothing is held for them once it is over. */
function startBodies(): (bytes: Uint8Array) => void {
  return (bytes) => {
    const items = decodeCbor(bytes);
    if (!Array.isArray(items)) throw new MeshError('malformed', 'want a list');
    const budget = new ByteBudget(limits.SYNC_FRAME_BYTES_MAX);
    const assembly = new BodyAssembly([budget]);
    let failure: Error | undefined;
    try {
      takeAll(assembly, items as readonly Cbor[]);
    } catch (cause) {
      failure = cause instanceof Error ? cause : new Error(String(cause));
    }
    assembly.clear();
    if (budget.heldBytes !== 0) throw new Error(`${budget.heldBytes} bytes are held for nothing`);
    if (failure !== undefined) throw failure;
  };
}

function takeAll(assembly: BodyAssembly, items: readonly Cbor[]): void {
  for (const item of items) {
    const parsed = parseCallFrame(item instanceof Uint8Array ? item : new Uint8Array());
    if ('part' in parsed) assembly.add(parsed.part.m, parsed.part.bytes);
    else if (parsed.body !== undefined && 'm' in parsed.body) {
      const { m, size } = parsed.body;
      if (assembly.take(m, size).length !== size) throw new Error('a body of another size was taken');
    }
  }
}

/** Parts of a few bodies, mostly as they should be. */
function makeBodies(random: SeededRandom): Uint8Array {
  const list: Uint8Array[] = [];
  const sizes: number[] = [];
  for (let i = 1 + random.below(6); i > 0; i--) {
    const m = random.below(4) === 0 ? 1 + random.below(5) : Math.max(1, random.below(2) + sizes.length);
    if (random.below(3) === 0) {
      list.push(encodeCallFrame({ f: 'msg' }, { m, size: Math.max(65_537, sizes[m - 1] ?? 70_000) }));
      continue;
    }
    const length = random.below(3) === 0 ? 1 + random.below(100) : limits.CALL_PART_BYTES_MIN + random.below(60_000);
    sizes[m - 1] = (sizes[m - 1] ?? 0) + length;
    list.push(concatBytes(...encodePartFrame(m, new Uint8Array(length))));
  }
  return encodeCbor(list);
}

export const CALL_PARSERS: readonly FuzzedParser[] = [
  {
    name: 'call frame',
    start: () => parseAgain,
    corpus: [...frames, ...largeMessage],
    codes: ['too_large', 'malformed', 'noncanonical', 'schema', 'version'],
    format: CBOR,
    bytesMax: limits.CALL_FRAME_BYTES_MAX,
  },
  {
    name: 'bodies of calls in parts',
    start: startBodies,
    corpus: [encodeCbor(largeMessage), encodeCbor(frames)],
    codes: ['too_large', 'malformed', 'noncanonical', 'schema', 'version', 'busy'],
    format: CBOR,
    bytesMax: 2 * limits.CALL_FRAME_BYTES_MAX,
    make: makeBodies,
  },
];
