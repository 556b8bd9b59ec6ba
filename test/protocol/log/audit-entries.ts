/** Audit entries of one organisation, signed with fixed keys. */
import { toBase64url } from '../../../protocol/encoding/bytes.ts';
import { createEntry, createUuid7, type EntryFields } from '../../../protocol/log/index.ts';
import { createAgent, createOrganisation, NOW_MS, type TestKey } from '../../builders.ts';
import { createBinding } from './own-log.ts';

export const acme = createOrganisation('acme');
export const robot = createAgent(acme, 'acme robot');

const idOf = (index: number): string => {
  const random = new Uint8Array(16);
  new DataView(random.buffer).setUint32(12, index);
  return createUuid7(NOW_MS + index, random);
};

const entry = <const T extends string>(
  index: number,
  type: T,
  data: EntryFields<T>['data'],
  { publicKey, sign }: TestKey,
): Uint8Array =>
  createEntry({ id: idOf(index), source: acme.did, timeMs: NOW_MS + index, type, data }, { publicKey, sign }).bytes;

interface AuditOptions {
  /** An envelope. */
  readonly binding?: Uint8Array;
  /** Signs leaf 0. */
  readonly openedBy?: TestKey;
  /** Signs what the agent did. */
  readonly by?: TestKey;
}

/** Leaf 0 says whose log it is, the next two which keys sign in it, the others what an agent did. */
export function auditEntries(
  count: number,
  { binding: bound = createBinding(acme).envelope, openedBy = acme.keys.sign, by = robot.keys.sign }: AuditOptions = {},
): Uint8Array[] {
  const { did, keys } = acme;
  return Array.from({ length: count }, (_, i) => {
    if (i === 0) {
      const binding = toBase64url(bound);
      return entry(i, 'agentmesh.log.opened.v1', { actor: did, phase: 'outcome', binding }, openedBy);
    }
    if (i <= 2) {
      const { did: who, genesis } = i === 1 ? acme : robot;
      const operation = {
        actor: did,
        phase: 'outcome',
        did: who,
        operation: 'genesis',
        seq: 0,
        statement: toBase64url(genesis.envelope),
      } as const;
      return entry(i, 'agentmesh.did.operation.v1', operation, keys.sign);
    }
    const action = { actor: robot.did, phase: 'outcome', op: 'read', facts: { n: `${i}` } } as const;
    return entry(i, 'agentmesh.agent.action.v1', action, by);
  });
}
