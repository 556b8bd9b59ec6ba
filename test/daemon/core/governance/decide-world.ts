/** A whole node under policies that the test says, with its log in the test's hands. */
import type { NodeGovernanceOptions } from '../../../../daemon/core/governance/node-governance.ts';
import type { ConfiguredPolicy } from '../../../../daemon/core/governance/policy-library.ts';
import type { Governance } from '../../../../daemon/core/governance/governance.ts';
import type { Caller } from '../../../../protocol/control/index.ts';
import { isMeshError } from '../../../../protocol/index.ts';
import type { Entry } from '../../../../protocol/log/index.ts';
import type { GateRequest, Verdict } from '../../../../protocol/policy/index.ts';
import { entriesOf, LogGate } from '../log/own-log.ts';
import { input, type Member, never, NodeWorld, operator } from '../node-world.ts';

export type Written = Readonly<Record<string, unknown>> & { readonly type: string; readonly index: number };

export const yaml = (rules: readonly string[], more = 'default: deny'): string =>
  `version: "1.0"\n${more}\n${rules.length === 0 ? '' : `rules:\n${rules.map((rule) => `  - ${rule}\n`).join('')}`}`;
export const live = (text: string, name = 'base'): ConfiguredPolicy => ({
  file: `${name}.yaml`,
  name,
  text,
  use: 'live',
});
export const call = (tool = 'read_file', args: GateRequest['tool'] = { name: tool }): GateRequest => ({
  action: 'tool_call',
  tool: { server: 'files', ...args },
});
export const asAgent = (did: string): Caller => ({ kind: 'agent', did });

export class DecideWorld {
  readonly nodes: NodeWorld = new NodeWorld();
  sources: readonly ConfiguredPolicy[];
  readonly #options: NodeGovernanceOptions;
  #member: Member | undefined;
  #log: LogGate | undefined;
  /** Of the agent "clerk", and of the person who answers for it. */
  clerk = '';
  ann = '';

  constructor(sources: readonly ConfiguredPolicy[], options: NodeGovernanceOptions = {}) {
    this.sources = sources;
    this.#options = options;
  }

  get member(): Member {
    if (this.#member === undefined) throw new Error('the world is not open');
    return this.#member;
  }
  get log(): LogGate {
    if (this.#log === undefined) throw new Error('the world is not open');
    return this.#log;
  }
  get governance(): Governance {
    return this.member.node.governance.governance;
  }

  async open(): Promise<this> {
    const load = async (): Promise<readonly ConfiguredPolicy[]> => this.sources;
    this.#member = await this.nodes.open('acme', undefined, { governance: { load, ...this.#options } });
    this.#log = new LogGate(this.member.auditLog);
    this.clerk = await this.employ('clerk');
    const { sponsors } = await this.member.api.sponsorList(input(undefined), operator, never);
    this.ann = sponsors[0]?.did ?? '';
    return this;
  }

  /** Closed and opened again over what is on disk. */
  async reopen(): Promise<void> {
    const { node, network, name, store } = this.member;
    await this.during(node.close());
    await network.close();
    const load = async (): Promise<readonly ConfiguredPolicy[]> => this.sources;
    this.#member = await this.nodes.open(name, store, { governance: { load, ...this.#options } });
    this.#log = new LogGate(this.member.auditLog);
  }

  async close(): Promise<void> {
    this.#log?.open();
    await this.nodes.close();
  }

  during<T>(work: Promise<T>, forMs = 100): Promise<T> {
    return this.nodes.during(work, forMs);
  }

  async employ(name: string, sponsor = 'ann@example.com'): Promise<string> {
    const body = { name, sponsor, capabilities: [{ can: 'read:data/*' }] };
    return (await this.during(this.member.api.agentCreate(input(body), operator, never))).agent.did;
  }

  async bring(text: string, name = 'own'): Promise<string> {
    const body = { name, files: [{ path: `${name}.yaml`, text }] };
    return (await this.during(this.member.api.policyLoad(input(body), operator, never))).policy.digest;
  }

  /** As started, while time stands still. */
  deciding(request: GateRequest, { as = this.clerk, policies = [] as readonly string[], signal = never } = {}) {
    const body = { as, policies: [...policies], request: request as never };
    return this.member.api.decide(input(body), operator, signal) as Promise<Verdict>;
  }

  decide(request: GateRequest, options: Parameters<DecideWorld['deciding']>[1] = {}, forMs = 100): Promise<Verdict> {
    return this.during(this.deciding(request, options), forMs);
  }

  /** What becomes of it: effect and code, or the code it is refused with. */
  async outcome(request: GateRequest, options: Parameters<DecideWorld['deciding']>[1] = {}): Promise<string> {
    try {
      const { effect, code } = await this.decide(request, options);
      return code === undefined ? effect : `${effect} ${code}`;
    } catch (error) {
      if (isMeshError(error)) return error.code;
      throw error;
    }
  }

  /** By the daemon's key of that person. */
  async judge(id: string, decision: 'approve' | 'deny' = 'approve', approver = this.ann): Promise<string> {
    const body = { decision, approver, reason: 'looked at it' };
    return (await this.during(this.member.api.approvalDecide(input(body, { id }), operator, never))).approval.state;
  }

  /** All that the log holds, each entry verified by what the log shows of its signers. */
  async written(...types: readonly string[]): Promise<Written[]> {
    await this.nodes.clock.advance(100);
    const short = ({ type, data, id, subject }: Entry, index: number): Written => ({
      ...data,
      id,
      subject,
      index,
      type: type.slice('agentmesh.'.length, -'.v1'.length),
    });
    const entries = (await entriesOf(this.member.auditLog)).map(short);
    return entries.filter(({ type }) => types.length === 0 || types.includes(type));
  }
}
