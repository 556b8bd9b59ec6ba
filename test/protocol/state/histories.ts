/** DID histories with forks, generated, and the state in a form that can be compared byte for byte. */
import fc from 'fast-check';
import type { DidState, Statement } from '../../../protocol/index.ts';
import { toHex } from '../../../protocol/index.ts';
import {
  createDeactivate,
  createRecover,
  createRotate,
  createUpdate,
  type Identity,
  keyOf,
  keySet,
  NOW_SECONDS,
  type Operation,
  type Retired,
  type TestKey,
} from '../../builders.ts';

const TYPES = ['update', 'rotate', 'recover', 'deactivate'] as const;

/** One operation: on which earlier one it builds, and what tells it from others that build on the same. */
export interface Step {
  readonly parent: number;
  readonly type: (typeof TYPES)[number];
  readonly variant: number;
  /** What becomes of the keys that the operation finds current. */
  readonly fate: 'dead' | 'kept' | 'grace' | 'unnamed' | 'listed again';
}

export const steps = (minLength: number, maxLength: number, variants = 3): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.record<Step>({
      parent: fc.nat(maxLength),
      type: fc.constantFrom('update', 'update', 'update', 'rotate', 'rotate', 'recover', 'deactivate'),
      variant: fc.nat(variants - 1),
      fate: fc.constantFrom('dead', 'kept', 'grace', 'unnamed', 'listed again'),
    }),
    { minLength, maxLength },
  );

interface Grown {
  readonly operation: Operation;
  /** Name of the key set listed, and of the set that `next` and the recovery keys come from. */
  readonly keys: string;
  readonly next: TestKey;
  readonly recovery: readonly TestKey[];
}

/** The names of the key sets that such a history lists. */
export const keyNames = ({ name }: Identity, history: readonly Step[]): string[] => [
  name,
  ...history.flatMap(({ type, fate }, i) =>
    (type === 'rotate' || type === 'recover') && fate !== 'listed again' ? [`${name} ${i}`] : [],
  ),
];

/**
 * The genesis and what the steps make of it, all valid: as many operations as distinct steps, and one. What retires
 * keys stands by one of `heads`, or by nothing.
 */
export function growHistory(
  identity: Identity,
  history: readonly Step[],
  heads: readonly Statement[] = [],
): Operation[] {
  const { name, genesis, next, recovery } = identity;
  const grown: Grown[] = [{ operation: genesis, keys: name, next, recovery }];
  for (const [i, step] of history.entries()) {
    const open = grown.filter(({ operation }) => operation.payload.op !== 'deactivate');
    const parent = open[step.parent % open.length];
    if (parent !== undefined) grown.push(grow(identity, parent, step, `${name} ${i}`, heads));
  }
  return [...new Map(grown.map(({ operation }) => [operation.id, operation])).values()];
}

function grow(
  identity: Identity,
  parent: Grown,
  { type, variant, fate, ...step }: Step,
  label: string,
  heads: readonly Statement[],
): Grown {
  const prv = parent.operation;
  const before = 'seq' in prv.payload ? prv.payload.seq : 0;
  const common = { prv, iat: NOW_SECONDS - 3600 + 60 * before - 30 * variant };
  const nodes = identity.kind === 'org' ? [identity.node] : [];
  const found = keySet(parent.keys);
  const retire: Retired = {
    dead: [[found.sign, null] as const],
    kept: [[found.delegate, null, [prv]] as const],
    grace: [[found.sign, NOW_SECONDS + 3600] as const],
    unnamed: [],
    'listed again': [],
  }[fate];
  const keys = fate === 'listed again' ? parent.keys : label;
  const listing = {
    ...common,
    keys: keySet(keys).listed,
    next: [keyOf(`${label} next`)],
    retire,
    rhead: heads[step.parent % (heads.length + 1)] ?? null,
  };
  switch (type) {
    case 'update':
      return {
        ...parent,
        operation: createUpdate(identity, {
          ...common,
          services: [['variant', `${variant}`]],
          signers: [found.sign, ...nodes],
        }),
      };
    case 'rotate':
      return {
        ...parent,
        keys,
        next: keyOf(`${label} next`),
        operation: createRotate(identity, label, { ...listing, signers: [parent.next] }),
      };
    case 'recover':
      return {
        keys,
        next: keyOf(`${label} next`),
        recovery: [1, 2, 3].map((i) => keyOf(`${label} recovery ${i}`)),
        operation: createRecover(identity, label, { ...listing, signers: [...parent.recovery.slice(0, 2), ...nodes] }),
      };
    case 'deactivate':
      return {
        ...parent,
        operation: createDeactivate(identity, {
          ...common,
          signers: variant === 0 ? parent.recovery.slice(1) : [parent.next],
        }),
      };
  }
}

/** Everything in the state, the order of its maps and sets included. */
export const formatState = (state: DidState | undefined): string =>
  JSON.stringify(state ?? null, (_, value: unknown) => {
    if (value instanceof Uint8Array) return toHex(value);
    return value instanceof Map || value instanceof Set ? [...(value as Iterable<unknown>)] : value;
  });
