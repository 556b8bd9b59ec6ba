/**
 * Whom this daemon believes about a log (SPEC "Default witness policy"). Operators are counted, not keys: whoever makes
 * up a hundred witnesses in one organisation has one voice.
 */
import {
  compareBytes,
  concatBytes,
  digestOf,
  limits,
  MeshError,
  type MeshState,
  toHex,
} from '../../../protocol/index.ts';
import {
  parseVkey,
  type Policy,
  type PolicyGroup,
  type PolicyWitness,
  type Vkey,
} from '../../../protocol/log/index.ts';

/** One who answers for witnesses: an organisation, or whoever runs a witness that is configured by its key. */
export interface WitnessOperator {
  /** The organisation's DID; null for a configured witness. */
  readonly did: string | null;
  /** Of different keys, the newest first. */
  readonly witnesses: readonly OperatedWitness[];
}

export interface OperatedWitness {
  readonly vkey: Vkey;
  /** Which speaks for the organisation; null for a configured witness. */
  readonly peer: string | null;
  /** Of a configured witness. */
  readonly url?: string;
}

/** What the bindings held say of witnesses. */
export function* boundWitnesses(state: Pick<MeshState, 'bindings'>): Generator<BoundWitness> {
  for (const { payload } of state.bindings())
    yield { did: payload.iss, vkey: parseVkey(payload.wit), peer: payload.peer, iat: payload.iat };
}

/** What a binding says: the witness key of an organisation, and the peer that holds it. */
export interface BoundWitness {
  readonly did: string;
  readonly vkey: Vkey;
  readonly peer: string;
  /** When the binding was signed. */
  readonly iat: number;
}

export interface OperatorsAsked {
  /** Of the log that is to be watched. */
  readonly origin: string;
  /** Whose log it is: nobody watches himself. */
  readonly owner: string;
  /** Of all bindings held. */
  readonly bound: Iterable<BoundWitness>;
  /** False for the convicted and those that are no more. */
  readonly mayWitness: (did: string) => boolean;
  /** DIDs that replace the choice; none: WITNESSES_MAX are chosen. */
  readonly chosen?: readonly string[];
  /** Witnesses of others, by key and URL: an operator each. */
  readonly configured?: readonly { readonly vkey: Vkey; readonly url: string }[];
}

const utf8 = new TextEncoder();

/**
 * Whose witnesses count for a log. Of the organisations known WITNESSES_MAX in the order of SHA-256(origin ‖ 0 ‖ DID):
 * everybody finds the same ones, and nobody can place himself there for one log without making DIDs by the thousand.
 */
export function witnessOperators(asked: OperatorsAsked): WitnessOperator[] {
  const { origin, chosen = [], configured = [] } = asked;
  const byDid = operatorsOf(asked);
  const picked =
    chosen.length > 0
      ? chosen.filter((did) => byDid.has(did))
      : [...byDid.keys()].toSorted(rendezvous(origin)).slice(0, limits.WITNESSES_MAX);
  const bound = picked.map((did) => ({ did, witnesses: byDid.get(did) ?? [] }));
  const known = new Set(bound.flatMap(({ witnesses }) => witnesses.map(({ vkey }) => toHex(vkey.publicKey))));
  const others = configured.filter(({ vkey }) => !known.has(toHex(vkey.publicKey)));
  return [...bound, ...others.map(({ vkey, url }) => ({ did: null, witnesses: [{ vkey, peer: null, url }] }))];
}

/**
 * A key that several of them claim counts for none: a binding does not show that its maker holds the key. Whoever may
 * not witness, or was not chosen where a human chose, cannot take others' keys away by claiming them.
 */
function operatorsOf({ owner, bound, mayWitness, chosen = [] }: OperatorsAsked): Map<string, OperatedWitness[]> {
  const candidates = [...bound].filter(
    ({ did }) => did === owner || (mayWitness(did) && (chosen.length === 0 || chosen.includes(did))),
  );
  const claims = new Map<string, Set<string>>();
  for (const { did, vkey } of candidates) {
    const key = toHex(vkey.publicKey);
    claims.set(key, (claims.get(key) ?? new Set()).add(did));
  }
  const byDid = new Map<string, OperatedWitness[]>();
  for (const { did, vkey, peer } of candidates.toSorted((a, b) => b.iat - a.iat)) {
    const key = toHex(vkey.publicKey);
    if (did === owner || claims.get(key)?.size !== 1) continue;
    const held = byDid.get(did) ?? [];
    // Bindings of several generations name one witness: the newest are of where it is now.
    const isNew = !held.some((each) => toHex(each.vkey.publicKey) === key);
    if (isNew && held.length < limits.WITNESS_KEYS_AN_OPERATOR_MAX) held.push({ vkey, peer });
    byDid.set(did, held);
  }
  return byDid;
}

function rendezvous(origin: string): (a: string, b: string) => number {
  const prefix = concatBytes(utf8.encode(origin), Uint8Array.of(0));
  const places = new Map<string, Uint8Array>();
  const placeOf = (did: string): Uint8Array => {
    const place = places.get(did) ?? digestOf(concatBytes(prefix, utf8.encode(did)));
    places.set(did, place);
    return place;
  };
  return (a, b) => compareBytes(placeOf(a), placeOf(b));
}

/**
 * How many of `operators` must have cosigned: more than (n + f) / 2, so that with at most f = ⌊(n - 1) / 3⌋ bad ones no
 * two histories can both have them, and few enough that the good ones suffice. 0 of none.
 */
export function quorumSize(operators: number): number {
  if (operators === 0) return 0;
  const bad = Math.floor((operators - 1) / 3);
  return Math.floor((operators + bad) / 2) + 1;
}

const QUORUM = 'operators';

/**
 * The policy of a log: one `any` group an operator, and `quorum` of those (default: quorumSize). Errors: quorum, when
 * more are asked for than there are.
 */
export function defaultPolicy(log: Vkey, operators: readonly WitnessOperator[], quorum?: number): Policy {
  const threshold = quorum ?? quorumSize(operators.length);
  if (threshold > operators.length)
    throw new MeshError(
      'quorum',
      `Cannot make a policy: its quorum is ${threshold}, and ${operators.length} operators are known`,
      { is: operators.length, want: threshold },
    );
  const witnesses: PolicyWitness[] = [];
  const groups: PolicyGroup[] = [];
  for (const [i, operator] of operators.entries()) {
    const name = operator.did ?? `configured-${i + 1}`;
    const members = operator.witnesses.map(({ vkey, url }, at) => {
      const witness = { name: `${name}/${at + 1}`, vkey, ...(url === undefined ? {} : { url: octets(url) }) };
      witnesses.push(witness);
      return witness.name;
    });
    groups.push({ name, threshold: 1, members });
  }
  const logs = [{ vkey: log }];
  if (threshold === 0) return { logs, witnesses, groups, quorum: undefined };
  groups.push({ name: QUORUM, threshold, members: operators.map(({ did }, i) => did ?? `configured-${i + 1}`) });
  return { logs, witnesses, groups, quorum: QUORUM };
}

const octets = (text: string): string => String.fromCharCode(...utf8.encode(text));
