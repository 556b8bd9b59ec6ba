/**
 * A chain with everything that an offline verifier needs (SPEC "Bundles"):
 *
 *   bundle  strict DAG-CBOR ["bundle/v1", link to the leaf, [envelope, …]], at most 4 MiB
 *
 * It is a small set of statements, in any order: the links, the DID logs of everyone named and of their organisations,
 * the revocation logs of these organisations, their newest heartbeats. Whoever verifies it applies the rules of the state
 * to that set.
 */
import { type Cbor, decodeCbor, encodeCbor } from '../encoding/cbor.ts';
import { Link as LinkValue } from '../encoding/cid.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { isMeshDid } from '../identity/did.ts';
import { BUNDLE_BYTES_MAX } from '../limits.ts';
import { admitAll, MeshState } from '../state/mesh-state.ts';
import type { MeshView } from '../state/view.ts';
import { isOfKind, parseStatement, type Statement, verifySignatures } from '../statement/statement.ts';
import { type ChainReport, startProgress } from './report.ts';
import { type ChainCheck, linksTo, parseLink, reporting, verifyStructure, verifyUse } from './verify.ts';

type Link = Statement<'delegation/v1'>;

const MAGIC = 'bundle/v1';

export interface Bundle {
  /** Id of the leaf. */
  readonly leaf: string;
  readonly envelopes: readonly Uint8Array[];
}

/** Errors: budget; malformed for a leaf that is no id. */
export function encodeBundle({ leaf, envelopes }: Bundle): Uint8Array {
  const bytes = encodeCbor([MAGIC, LinkValue.parse(leaf), envelopes]);
  verifySize(bytes);
  return bytes;
}

/** Errors: budget, malformed, noncanonical. The envelopes are views of the input, unparsed. */
export function parseBundle(bytes: Uint8Array): Bundle {
  verifySize(bytes);
  const value = decode(bytes);
  const [magic, leaf, envelopes] = Array.isArray(value) ? (value as readonly unknown[]) : [];
  if (
    !Array.isArray(value) ||
    value.length !== 3 ||
    magic !== MAGIC ||
    !(leaf instanceof LinkValue) ||
    !leaf.isId ||
    !isListOfBytes(envelopes)
  ) {
    throw new MeshError('malformed', `Cannot read a bundle: want ["${MAGIC}", leaf id, [envelope, …]]`);
  }
  return { leaf: leaf.text, envelopes };
}

function decode(bytes: Uint8Array): Cbor {
  try {
    return decodeCbor(bytes);
  } catch (error) {
    if (!isMeshError(error) || error.code !== 'too_large') throw error;
    throw new MeshError('budget', error.message, error.data, { cause: error });
  }
}

const isListOfBytes = (value: unknown): value is readonly Uint8Array[] =>
  Array.isArray(value) && value.every((item) => item instanceof Uint8Array);

function verifySize({ length }: Uint8Array): void {
  if (length <= BUNDLE_BYTES_MAX) return;
  throw new MeshError('budget', `Cannot accept a bundle: it has ${length} bytes, want at most ${BUNDLE_BYTES_MAX}`, {
    is: length,
    want: BUNDLE_BYTES_MAX,
  });
}

/** What a bundle is collected from; MeshState is one. */
export interface BundleSource extends Pick<MeshView, 'didState' | 'link' | 'heartbeatsOf'> {
  operationsOf(did: string): readonly Statement<'didop/v1'>[];
  revocationsBy(organisation: string): readonly Statement<'revocation/v1'>[];
}

/** Links root first, or the id of a leaf. Errors: broken_link, budget, did_unknown. */
export function collectBundle(source: BundleSource, chain: readonly Link[] | string, nowMs: number): Bundle {
  const links = typeof chain === 'string' ? linksTo(source, chain) : chain;
  const leaf = links.at(-1);
  if (leaf === undefined) throw new MeshError('malformed', 'Cannot bundle a chain: it has no links');
  const named = new Set(links.flatMap(({ payload: { sub, spo, iss, aud } }) => [sub, spo, iss, aud]).filter(isMeshDid));
  const organisations = new Set<string>();
  for (const did of named) {
    const state = source.didState(did);
    if (state === undefined)
      throw new MeshError('did_unknown', `Cannot bundle a chain: the log of "${did}" is not held`, {
        did,
        waitsFor: did,
      });
    organisations.add(state.organisation);
  }
  const statements: Statement[] = [
    ...[...new Set([...organisations, ...named])].flatMap((did) => source.operationsOf(did)),
    ...links,
    ...[...organisations].flatMap((did) => source.revocationsBy(did)),
    ...[...organisations].flatMap((did) => source.heartbeatsOf(did, nowMs).map(({ statement }) => statement)),
  ];
  return { leaf: leaf.id, envelopes: [...new Set(statements)].map(({ envelope }) => envelope) };
}

/** Errors: CHAIN_CODES. */
export function verifyBundle(bytes: Uint8Array, check: Omit<ChainCheck, 'view' | 'isVerified'>): ChainReport {
  const progress = startProgress(check.nowMs);
  return reporting(progress, () => {
    const { leaf, envelopes } = parseBundle(bytes);
    const { links, others } = sortStatements(envelopes);
    progress.links = linksTo({ link: (id) => links.get(id) }, leaf);
    for (const statement of others) verifySignatures(statement, check.isSignatureValid);
    const view = new MeshState();
    admitAll(view, others, check.nowMs);
    verifyStructure(progress, { ...check, view });
    verifyUse(progress, { ...check, view });
  });
}

/** Links are kept apart from the rest: they are judged by the chain's own check, which says more than the door's. */
function sortStatements(envelopes: readonly Uint8Array[]): { links: Map<string, Link>; others: Statement[] } {
  const links = new Map<string, Link>();
  const others: Statement[] = [];
  for (const envelope of envelopes) {
    const statement = parseBundled(envelope);
    if (statement === undefined || !saysSomethingOfChains(statement)) continue;
    if (!isOfKind(statement, 'delegation/v1')) others.push(statement);
    else if (!links.has(statement.id)) links.set(statement.id, statement);
  }
  return { links, others };
}

/** What else is bundled would only cost work, and could fail by codes that are none of a chain's. */
const saysSomethingOfChains = (statement: Statement): boolean =>
  (['delegation/v1', 'didop/v1', 'revocation/v1', 'heartbeat/v1'] as const).some((kind) => isOfKind(statement, kind));

/** Undefined for a kind of statement that is not known here, which says nothing about chains. */
function parseBundled(envelope: Uint8Array): Statement | undefined {
  try {
    return parseStatement(envelope);
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return error.code === 'unknown_kind' ? undefined : parseLink(envelope);
  }
}
