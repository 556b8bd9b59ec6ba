/** Two organisations whose agents write to each other: whole nodes, memory network, virtual time. */
import type { ConfiguredPolicy } from '../../../../daemon/core/governance/policy-library.ts';
import type { NodeMessagesOptions } from '../../../../daemon/core/messages/node-messages.ts';
import type { InboxMessageView, OutgoingMessageView } from '../../../../protocol/control/index.ts';
import { isMeshError } from '../../../../protocol/index.ts';
import type { Entry } from '../../../../protocol/log/index.ts';
import { live, yaml } from '../governance/decide-world.ts';
import { entriesOf } from '../log/own-log.ts';
import { input, type Member, never, NodeWorld, operator } from '../node-world.ts';

export type Name = 'acme' | 'gamma';
type Bounds = Omit<NodeMessagesOptions, 'networkName'>;

export class MailWorld {
  readonly nodes = new NodeWorld();
  readonly policies: Record<Name, readonly ConfiguredPolicy[]> = { acme: [], gamma: [] };
  readonly #bounds: Partial<Record<Name, Bounds>>;
  /** Agents of gamma, who write, and of acme, who are written to. */
  bot = '';
  other = '';
  clerk = '';
  /** That acme gave to "bot". */
  grant = '';

  constructor(bounds: Partial<Record<Name, Bounds>> = {}) {
    this.#bounds = bounds;
  }

  static async open(bounds: Partial<Record<Name, Bounds>> = {}): Promise<MailWorld> {
    const world = new MailWorld(bounds);
    for (const name of ['acme', 'gamma'] as const) await world.start(name);
    world.connect();
    await world.nodes.clock.advance(300);
    world.clerk = await world.employ('acme', 'clerk');
    [world.bot, world.other] = [await world.employ('gamma', 'bot'), await world.employ('gamma', 'other')];
    world.grant = await world.allow(world.bot);
    await world.allow(world.other);
    await world.nodes.clock.advance(1_000);
    return world;
  }

  async start(name: Name): Promise<void> {
    const before = this.nodes.members.get(name);
    await this.nodes.open(name, before?.store, {
      governance: { load: async () => this.policies[name] },
      messages: this.#bounds[name] ?? {},
    });
  }

  /** As a process that ends in order; what it holds is on disk. */
  async stop(name: Name): Promise<void> {
    const { node, network } = this.member(name);
    await this.nodes.during(node.close(), 1_000);
    await network.close();
  }

  async restart(name: Name): Promise<void> {
    await this.stop(name);
    await this.start(name);
  }

  connect(): void {
    this.nodes.mesh.connect(this.member('gamma').network, this.member('acme').network);
  }

  member(name: Name): Member {
    const member = this.nodes.members.get(name);
    if (member === undefined) throw new Error(`Cannot use "${name}": it never ran`);
    return member;
  }

  async employ(name: Name, agent: string): Promise<string> {
    const body = { name: agent, sponsor: `ann@${name}.example`, capabilities: [{ can: 'read:data/*' }] };
    const { api } = this.member(name);
    return (await this.nodes.during(api.agentCreate(input(body), operator, never))).agent.did;
  }

  /** A chain of acme's own that lets its holder write. */
  async allow(to: string, can = 'mesh:message'): Promise<string> {
    const body = { to, capabilities: [{ can }], ttlSeconds: 7 * 86_400 };
    const { api } = this.member('acme');
    return (await this.nodes.during(api.delegationCreate(input(body), operator, never))).link.id;
  }

  async under(name: Name, ...rules: readonly string[]): Promise<void> {
    this.policies[name] = [live(yaml(rules))];
    await this.nodes.during(this.member(name).api.policyReload(input(undefined), operator, never));
  }

  /** Puts a text into the outbox, and waits until it is there. */
  async send(
    text: string,
    {
      from = 'gamma',
      as = this.bot,
      to = this.clerk,
      expiresInSeconds,
    }: { from?: Name; as?: string; to?: string; expiresInSeconds?: number } = {},
  ): Promise<OutgoingMessageView> {
    const body = {
      as,
      to,
      contentType: 'text/plain; charset=utf-8',
      body: Buffer.from(text).toString('base64url'),
      ...(expiresInSeconds !== undefined && { expiresInSeconds }),
    };
    const { api } = this.member(from);
    return (await this.nodes.during(api.messageSend(input(body), operator, never), 50)).message;
  }

  async codeOf(work: Promise<unknown>): Promise<string> {
    try {
      await work;
      return 'ok';
    } catch (error) {
      if (isMeshError(error)) return error.code;
      throw error;
    }
  }

  async inbox(as = this.clerk, name: Name = 'acme'): Promise<readonly InboxMessageView[]> {
    const { api } = this.member(name);
    const asked = { params: {}, body: undefined, query: { as } } as const;
    return (await this.nodes.during(api.inboxList(asked, operator, never))).messages;
  }

  async texts(as = this.clerk, name: Name = 'acme'): Promise<string[]> {
    return (await this.inbox(as, name)).map(({ body }) => Buffer.from(body, 'base64url').toString());
  }

  async acknowledge(ids: readonly string[], as = this.clerk): Promise<number> {
    const { api } = this.member('acme');
    const body = { as, ids: [...ids] };
    return (await this.nodes.during(api.inboxAck(input(body), operator, never))).acknowledged;
  }

  /** Oldest first. */
  async outbox(as = this.bot, name: Name = 'gamma'): Promise<OutgoingMessageView[]> {
    const asked = { params: {}, body: undefined, query: { as } } as const;
    return (await this.member(name).api.outboxList(asked, operator, never)).messages.toReversed();
  }

  /** State and code of each. */
  async states(as = this.bot, name: Name = 'gamma'): Promise<string[]> {
    return (await this.outbox(as, name)).map(({ state, code }) => (code === null ? state : `${state} ${code}`));
  }

  async entries(name: Name, type: string): Promise<Entry['data'][]> {
    await this.nodes.clock.advance(100);
    const entries = await entriesOf(this.member(name).auditLog);
    return entries.filter((entry) => entry.type === `agentmesh.${type}.v1`).map(({ data }) => data);
  }

  async pass(ms: number): Promise<void> {
    await this.nodes.clock.advance(ms);
  }
}
