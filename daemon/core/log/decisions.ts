/**
 * The entry of everything that the daemon does. What grants is announced before (WriteAhead, and the pipeline's
 * `beforeKept` for whatever this daemon signs); what takes away is announced too, but waits for no log; what is seen is
 * noted after.
 */
import type { EventData, EventType, MeshEventInput } from '../../../protocol/control/index.ts';
import {
  type Capability,
  concatBytes,
  didOfGenesis,
  digestOf,
  type Ending,
  isMeshError,
  isOfKind,
  linksTo,
  type MeshState,
  multikeyText,
  type Statement,
  toBase64url,
  toHex,
} from '../../../protocol/index.ts';
import {
  createUuid7,
  type EntryMembers,
  type EntryTypeName,
  isOfType,
  parseEntry,
  parseUuid7,
} from '../../../protocol/log/index.ts';
import type { Logger } from '../../ports.ts';
import type { PipelineListener, Source } from '../pipeline.ts';
import type { AgentRow } from '../registry.ts';
import { Serial } from '../serial.ts';
import type { Session, SessionUse } from '../sessions.ts';
import { targetView } from '../views.ts';
import type { AuditLog } from './audit-log.ts';
import type { Details, Recorder } from './recorder.ts';
import { problemOf, type SessionBasis, type Settle, type WriteAhead } from './write-ahead.ts';

type Link = Statement<'delegation/v1'>;
type Operation = Statement<'didop/v1'>;

export interface DecisionsComponents {
  readonly recorder: Recorder;
  readonly state: MeshState;
  readonly files: Pick<AuditLog['files'], 'indexOf' | 'entry'>;
  /** An own agent. */
  readonly agent: (did: string) => AgentRow | undefined;
  /** In force, of own agents: their keys sign entries. */
  readonly credentials: () => readonly Link[];
  /** Of this program. */
  readonly version: string;
  readonly log: Logger;
}

const HISTORY_AT_ONCE = 256; // DIDs whose operations are written at once: one batch of the log

export class Decisions implements WriteAhead {
  readonly #components: DecisionsComponents;
  readonly #history = new Serial();

  constructor(components: DecisionsComponents) {
    this.#components = components;
  }

  // Before it is done

  verifyOpen(): void {
    this.#components.recorder.verifyOpen();
  }

  /**
   * For whatever this daemon makes and the pipeline is about to hold. A revocation takes away: it goes out also where
   * the log cannot hold it. Errors: of Recorder.record, for what grants.
   */
  async beforeKept(statements: readonly Statement[]): Promise<Settle> {
    const announced = await Promise.allSettled(statements.map((statement) => this.#announce(statement)));
    const settles = announced.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const settle: Settle = (problem) => {
      for (const each of settles) each(problem);
    };
    const failed = announced.find((one) => one.status === 'rejected');
    if (failed === undefined) return settle;
    settle(problemOf(failed.reason));
    throw failed.reason;
  }

  async session(session: Session, basis: SessionBasis): Promise<Settle> {
    const { sid, as, did, organisation, peer, granted, score, minScore, scoreBasis, links } = session;
    const common = {
      as,
      organisation,
      peerId: peer,
      granted: granted.map(({ can }) => can),
      score,
      until: timeOf(session.expiresMs),
      ...(basis.purpose !== null && { purpose: basis.purpose }),
    };
    const details = { actor: as, peer: did, session: sid, subject: sid, ...basisOf(basis) };
    return session.direction === 'outbound'
      ? this.#components.recorder.announce('session.opened', common, details)
      : this.#components.recorder.announce(
          'handshake.accepted',
          { ...common, minScore, basis: scoreBasis, links },
          details,
        );
  }

  async credential(link: Link): Promise<Settle> {
    const { members, details } = this.#credentialEntry(link);
    return this.#components.recorder.announce('credential.issued', members, details);
  }

  async token(did: string, untilMs: number | undefined): Promise<Settle> {
    const until = untilMs === undefined ? null : timeOf(untilMs);
    return this.#components.recorder.announce('token.issued', { did, until }, { subject: did });
  }

  async sponsor(did: string): Promise<Settle> {
    return this.#components.recorder.announce('sponsor.registered', { did }, { subject: did });
  }

  async resumed({ did, isRegistered }: AgentRow): Promise<Settle> {
    const status = isRegistered ? 'active' : 'unregistered';
    return this.#components.recorder.announce('agent.changed', { did, status }, { subject: did });
  }

  /** A person decides that a conviction does not count here. */
  async lifting(who: string, reason: string): Promise<Settle> {
    return this.#components.recorder.announce('conviction.lifted', { who, reason }, { peer: who, subject: who });
  }

  async #announce(statement: Statement): Promise<Settle> {
    if (isOfKind(statement, 'didop/v1')) return this.#announceOperation(statement);
    if (isOfKind(statement, 'delegation/v1'))
      return statement.payload.cnf === undefined ? this.#announceLink(statement) : this.credential(statement);
    if (isOfKind(statement, 'revocation/v1')) return this.#announceRevocation(statement);
    return () => {}; // what says something of the log itself has entries of its own, or is signed by the log's key
  }

  async #announceOperation(operation: Operation): Promise<Settle> {
    const { recorder, state } = this.#components;
    state.verifyEntitled(operation); // whoever reads the log takes its keys for good
    const { members, details } = operationEntry(operation);
    try {
      return await recorder.announce('did.operation', members, details);
    } catch (error) {
      if (!isMeshError(error) || error.code !== 'conflict') throw error;
      // Announced before, and cut off or refused then.
      return recorder.announce('did.operation', members, { subject: members.did });
    }
  }

  #announceLink(link: Link): Promise<Settle> {
    const { iss, aud, spo, prf, cap, exp, pri } = link.payload;
    const members = {
      link: link.id,
      issuer: iss,
      audience: aud,
      parent: prf?.text ?? null,
      capabilities: namesOf(cap),
      until: timeOf(exp * 1000),
      private: pri === true,
    };
    const details = { actor: iss, principal: spo, subject: link.id, ...this.#chainEndingIn(link) };
    return this.#components.recorder.announce('delegation.issued', members, details);
  }

  async #announceRevocation(revocation: Statement<'revocation/v1'>): Promise<Settle> {
    const { id, payload } = revocation;
    const { iss, tgt, rsn } = payload;
    const target = targetView(tgt);
    const members = { id, issuer: iss, target, reason: rsn };
    try {
      const details = { actor: iss, subject: 'link' in target ? target.link : target.did };
      return await this.#components.recorder.announce('revocation.issued', members, details);
    } catch (error) {
      const { code, message } = problemOf(error);
      this.#components.log.warn({ id, code, reason: message }, 'a revocation goes out that is not in the audit log');
      return () => {};
    }
  }

  #credentialEntry(link: Link) {
    const { aud, spo, exp, cnf } = link.payload;
    const members = {
      did: aud,
      leaf: link.id,
      key: multikeyText(cnf as Uint8Array), // what makes it a credential
      until: timeOf(exp * 1000),
      statement: toBase64url(link.envelope),
    };
    return { members, details: { principal: spo, subject: aud, ...this.#chainEndingIn(link) } };
  }

  #chainEndingIn(link: Link): Pick<Details, 'delegation'> {
    const { prf } = link.payload;
    return chainOf(prf === null ? [link] : [...linksTo(this.#components.state, prf.text), link]);
  }

  // After it is done, or seen

  /** What the daemon tells those who listen, as far as it is not announced before. */
  observe({ type, data }: MeshEventInput): void {
    const note = this.#seen[type] as ((data: MeshEventInput['data']) => void) | undefined;
    note?.(data);
  }

  readonly #seen: { readonly [T in EventType]?: (data: EventData<T>) => void } = {
    'handshake.refused': ({ as, did, peerId, direction, code, reason }) => {
      const who = { ...(as !== null && { as }), ...(reason !== null && { reason }) };
      this.#note('handshake.refused', { direction, code, peerId, ...who }, did === null ? {} : { peer: did });
    },
    'statement.rejected': ({ id, code, source, peerId }) => {
      const what = { ...(id !== null && { id }), ...(peerId !== null && { peerId }) };
      this.#note('statement.rejected', { code, source, ...what }, id === null ? {} : { subject: id });
    },
    'peer.bound': ({ did, peerId, address }) =>
      this.#note('peer.bound', { peerId, address }, { peer: did, subject: did }),
    'peer.lost': ({ did, peerId }) =>
      this.#note('peer.lost', { peerId }, did === null ? {} : { peer: did, subject: did }),
    'agent.registered': ({ did }) => this.#registered(did),
    'agent.changed': ({ did, status }) => {
      // One that may act again was announced.
      if (status === 'suspended' || status === 'revoked')
        this.#note('agent.changed', { did, status }, { subject: did });
    },
    'credential.lapsed': ({ did, id }) => this.#note('credential.lapsed', { did, leaf: id }, { subject: did }),
  };

  #note<N extends EntryTypeName>(type: N, members: EntryMembers<N>, details: Details): void {
    this.#components.recorder.note(type, members, details);
  }

  sessionEnded({ sid, as, did, direction }: Session, code: Ending, use: SessionUse): void {
    const { calls, refused, bytesIn, bytesOut } = use;
    const members = { as, direction, code, ...(calls > 0 && { calls, refused, bytesIn, bytesOut }) };
    this.#components.recorder.note('session.ended', members, { actor: as, peer: did, session: sid, subject: sid });
  }

  /** What a log shows of itself, made up for where a crash cut it off; then that the daemon runs. A halted log shows no more. */
  async start(): Promise<void> {
    const { recorder, log, version } = this.#components;
    try {
      recorder.verifyOpen();
      await this.recordHistory();
    } catch (error) {
      if (!isMeshError(error)) throw error;
      log.warn({ code: error.code, reason: error.message }, 'nothing is granted: it could not be recorded');
      return;
    }
    recorder.note('daemon.started', { version });
  }

  /** Operations of the own DIDs that others brought: after a restore, or by a thief. */
  readonly listener: PipelineListener = {
    accepted: (statement: Statement, { via }: Source) => {
      if (via === 'local' || !isOfKind(statement, 'didop/v1') || !this.#isOwn(statement)) return;
      const { recorder, log } = this.#components;
      // Whatever is signed from now on may be signed by a key that it lists.
      recorder
        .hold(() => this.#history.run(() => this.#writeLog(didOf(statement))))
        .catch((error: unknown) => log.warn({ id: statement.id, error }, 'an own operation is not in the audit log'));
    },
  };

  /**
   * Writes every operation of the organisation and its people and agents that the log does not hold yet, so that it
   * shows by itself which keys its signers had; and the credentials in force. For a new log right after leaf 0, and at
   * every start: whatever a crash cut off is made up for. Nothing else is written before all of it is durable.
   * Errors: of Recorder.record.
   */
  async recordHistory(): Promise<void> {
    await this.#components.recorder.hold(() => this.#history.run(() => this.#writeHistory()));
  }

  async #writeHistory(): Promise<void> {
    const { state, recorder, credentials } = this.#components;
    await this.#writeOperations(recorder.organisation);
    const own = [...state.didsOf(recorder.organisation)].filter((did) => did !== recorder.organisation);
    for (let i = 0; i < own.length; i += HISTORY_AT_ONCE) {
      const some = own.slice(i, i + HISTORY_AT_ONCE);
      await Promise.all(some.map((did) => this.#writeOperations(did)));
    }
    await Promise.all(
      credentials().map((link) => {
        const { members, details } = this.#credentialEntry(link);
        return recorder.record('credential.issued', members, { ...details, isFirst: true });
      }),
    );
  }

  /** Operations of an agent or person build on each other and on the organisation's, and on no other's. */
  async #writeLog(did: string): Promise<void> {
    const { organisation } = this.#components.recorder;
    await this.#writeOperations(organisation);
    if (did !== organisation) await this.#writeOperations(did);
  }

  /** One after the other, each on disk before the next: the log may look up ids, and takes what it has found first. */
  async #writeOperations(did: string): Promise<void> {
    const { recorder, files, state } = this.#components;
    for (const operation of state.operationsOf(did)) {
      const { members, details } = operationEntry(operation);
      const index = await files.indexOf(parseUuid7(details.id).bytes);
      if (index !== undefined && (await this.#isWritten(members.statement, index))) continue;
      const own = index === undefined ? details : { subject: details.subject };
      await recorder.record('did.operation', members, { ...own, isFirst: true });
    }
  }

  /** An agent may choose the ids of its entries: one that keeps an operation out would spoil the whole log for good. */
  async #isWritten(statement: string, index: number): Promise<boolean> {
    const bytes = await this.#components.files.entry(index);
    try {
      const entry = bytes === undefined ? undefined : parseEntry(bytes).entry;
      return entry !== undefined && isOfType(entry, 'did.operation') && entry.data.statement === statement;
    } catch (error) {
      if (isMeshError(error) && error.code !== 'store_corrupt') return false; // of a build that had other types
      throw error;
    }
  }

  #isOwn(operation: Operation): boolean {
    const { state, recorder } = this.#components;
    return state.didState(didOf(operation))?.organisation === recorder.organisation;
  }

  #registered(did: string): void {
    const agent = this.#components.agent(did);
    if (agent === undefined) return; // its row is written before it is told of
    const { sponsor, parent, keyHeldBy, rootLink, capabilities } = agent;
    const members = { did, sponsor, parent, keyHeldBy, rootLink, capabilities: namesOf(capabilities) };
    this.#components.recorder.note('agent.registered', members, { principal: sponsor, subject: did });
  }
}

/** SHA-256 over the envelopes of a chain, root first, and its leaf. */
export function chainOf(chain: readonly Link[]): Pick<Details, 'delegation'> {
  const leaf = chain.at(-1);
  if (leaf === undefined) return {};
  const hash = digestOf(concatBytes(...chain.map(({ envelope }) => envelope)));
  return { delegation: { chain: toHex(hash), leaf: leaf.id } };
}

function basisOf({ chain, policy }: SessionBasis): Details {
  return {
    ...chainOf(chain),
    ...(policy !== undefined && {
      policy: {
        hash: toHex(digestOf(new TextEncoder().encode(policy.text))),
        version: policy.version,
        rule: null,
        decision: 'allow',
      },
    }),
  };
}

/**
 * Its entry's id follows from the operation, so that whether the log holds it is one look-up; the time in it is the
 * operation's, not the entry's.
 */
function operationEntry(operation: Operation) {
  const { payload, digest, envelope } = operation;
  const did = didOf(operation);
  const members = {
    did,
    operation: payload.op,
    seq: payload.op === 'genesis' ? 0 : payload.seq,
    statement: toBase64url(envelope),
  };
  return { members, details: { subject: did, id: createUuid7(payload.iat * 1000, digest.subarray(0, 16)) } };
}

const didOf = ({ id, payload }: Operation): string => (payload.op === 'genesis' ? didOfGenesis(id) : payload.iss);

const namesOf = (capabilities: readonly Capability[]): string[] => capabilities.map(({ can }) => can);

const timeOf = (ms: number): string => new Date(ms).toISOString();
