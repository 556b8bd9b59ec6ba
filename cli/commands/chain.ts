/** Delegation links and the chains that they form. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { limits, MeshError } from '../../protocol/index.ts';
import {
  capabilitiesOf,
  collect,
  integerBetween,
  parseCan,
  parseDid,
  parsePurpose,
  parseRate,
  parseResource,
  secondsBetween,
} from '../arguments.ts';
import { withHelp } from '../help.ts';
import type { Invocation } from '../invocation.ts';
import { findAgent, findDid, findLink, localNames } from '../lookup.ts';
import { UsageError } from '../problem.ts';
import type { Act } from '../program.ts';
import { formatBytes } from '../text/time.ts';
import { formatChains, formatChecked, formatDelegation } from '../views/chains.ts';

interface DelegateOptions {
  readonly to: string;
  readonly can: readonly string[];
  readonly from?: string;
  readonly as?: string;
  readonly res?: readonly string[];
  readonly ttl?: number;
  readonly depth?: number;
  readonly stl?: number;
  readonly rate?: readonly ReturnType<typeof parseRate>[];
  readonly purpose?: readonly string[];
  readonly private?: true;
}

export function addDelegate(program: Command, act: Act): void {
  withHelp(program.command('delegate'), {
    summary: 'Grant capabilities to an agent, of this or another organisation',
    about:
      'Without --from and --as a root link of the organisation, signed by it and a sponsor. With --from the link is continued by the agent ' +
      'that holds it; with --as alone by that agent from its own root link. A link never grants more than the one before it: a widening ' +
      'is refused, naming the dimension.',
    examples: [
      ['delegate --to did:mesh:bafyrei… --can read:reports/*', 'from the organisation'],
      ['delegate --to did:mesh:bafyrei… --can read:reports/q3 --as my-agent --ttl 1h', 'from an agent'],
      ['delegate --to did:mesh:bafyrei… --can read:files/a --from bafyreiabcdef', 'continuing a chain'],
      ['delegate --to other-agent --can write:tickets --res acme/support/ --depth 0', 'on some resources only'],
      ["delegate --to did:mesh:bafyrei… --can 'mcp:files/*' --rate 'mcp:files/*=100/1h'", 'so often at most'],
    ],
  })
    .requiredOption('--to <did>', 'who receives it: a DID, or the name of an own agent')
    .requiredOption(
      '--can <capability>',
      'what, like read:reports/q3 or read:reports/*; may be repeated',
      collect(parseCan),
    )
    .option('--from <link>', 'link to continue: its id, or the beginning of it')
    .option('--as <agent>', 'own agent that grants: name or DID')
    .option(
      '--res <resource>',
      'only this resource, or this subtree ("docs/"); may be repeated',
      collect(parseResource),
    )
    .option(
      '--ttl <time>',
      'how long it holds, like 15m, 1h or 7d; at most 30d and as long as the parent',
      secondsBetween(1, limits.LINK_SECONDS_MAX, 'from 1s to 30d'),
    )
    .option('--depth <hops>', 'how often it may be granted further', integerBetween(0, limits.DEPTH_MAX))
    .option(
      '--stl <time>',
      'tolerated age of knowledge about revocations, at most 5m',
      secondsBetween(0, limits.STALENESS_SECONDS_MAX, 'from 0s to 5m'),
    )
    .option(
      '--rate <rate>',
      'how often at most, like "mcp:files/*=100/1h"; all below the link share it; may be repeated',
      collect(parseRate),
    )
    .option('--purpose <purpose>', 'only for this purpose, like billing; may be repeated', collect(parsePurpose))
    .option('--private', 'never publish it; it is only presented')
    .action(act(delegate));
}

async function delegate(invocation: Invocation, options: DelegateOptions): Promise<void> {
  const mesh = await invocation.mesh();
  const { ttl, depth, stl } = options;
  const body = {
    to: await findDid(mesh, options.to),
    capabilities: capabilitiesOf(options.can, options.res),
    ...(options.from === undefined ? {} : { from: await findLink(mesh, options.from) }),
    ...(options.as === undefined ? {} : { as: (await findAgent(mesh, options.as)).did }),
    ...(ttl === undefined ? {} : { ttlSeconds: ttl }),
    ...(depth === undefined ? {} : { depth }),
    ...(stl === undefined ? {} : { stalenessSeconds: stl }),
    ...(options.rate === undefined ? {} : { rates: [...options.rate] }),
    ...(options.purpose === undefined ? {} : { purposes: [...options.purpose] }),
    ...(options.private === true ? { private: true } : {}),
  };
  const names = await localNames(mesh);
  const answer = await mesh.call('delegationCreate', { body });
  if (answer.toSign.length > 0) {
    throw new MeshError('key_missing', `Cannot delegate as "${answer.link.issuer}": this agent keeps its own key`, {
      did: answer.link.issuer,
      next: 'let the agent itself delegate, through the SDK',
    });
  }
  invocation.answer(answer, (view) => formatDelegation(answer, view, names));
  invocation.suggest('hand it over, to be verified offline', 'chain', 'export', answer.link.id, '--out', 'grant.chain');
}

export function addChain(program: Command, act: Act): void {
  const chain = withHelp(program.command('chain'), {
    summary: 'Chains of delegation that are held here',
    examples: [
      ['chain list', 'all of them'],
      ['chain show bafyreiabcdef', 'each link of one, and what a check says'],
      ['chain export bafyreiabcdef --out q3.chain', 'for verification offline'],
    ],
  });
  addList(chain, act);
  addShow(chain, act);
  addExport(chain, act);
}

function addList(chain: Command, act: Act): void {
  withHelp(chain.command('list'), {
    summary: 'Chains that are held here, each with what a check says now',
    examples: [
      ['chain list --to my-agent', 'what one agent holds'],
      ['chain list --root did:mesh:bafyrei…', 'what one organisation granted'],
    ],
  })
    .option('--to <did>', 'only those of this holder: DID or own agent')
    .option('--root <did>', 'only those from this organisation', parseDid)
    .action(
      act(async (invocation, { to, root }: { to?: string; root?: string }) => {
        const mesh = await invocation.mesh();
        const query = {
          ...(to === undefined ? {} : { to: await findDid(mesh, to) }),
          ...(root === undefined ? {} : { root }),
        };
        const [answer, names] = await Promise.all([mesh.call('chainList', { query }), localNames(mesh)]);
        invocation.answer(answer, (view) => formatChains(answer.chains, view, names));
      }),
    );
}

function addShow(chain: Command, act: Act): void {
  withHelp(chain.command('show'), {
    summary: 'Each link of a chain, and what a check says',
    about:
      'The check asks nobody: it says what this daemon knows. "verify-chain" checks in this process, for a request too.',
    examples: [['chain show bafyreiabcdef', 'by the beginning of its id']],
  })
    .argument('<link>', 'id of the last link, or at least 8 letters of its beginning')
    .action(
      act(async (invocation, text: string) => {
        const mesh = await invocation.mesh();
        const leaf = await findLink(mesh, text);
        const [answer, names] = await Promise.all([mesh.call('chainShow', { params: { leaf } }), localNames(mesh)]);
        const { verdict, report } = answer;
        invocation.answer(answer, (view) => formatChecked({ ...verdict, report }, view, names));
      }),
    );
}

function addExport(chain: Command, act: Act): void {
  withHelp(chain.command('export'), {
    summary: 'A chain with everything that an offline verifier needs',
    about:
      'The links, the DID logs of everyone named, the revocations and newest heartbeats of the organisations: what "verify-chain" reads. ' +
      'It verifies for as long as the heartbeats are recent enough for the chain.',
    examples: [
      ['chain export bafyreiabcdef --out q3.chain', 'to a file'],
      ['chain export bafyreiabcdef | ssh host agentmesh verify-chain -', 'elsewhere at once'],
    ],
  })
    .argument('<link>', 'id of the last link, or at least 8 letters of its beginning')
    .option('--out <file>', 'file to write; without it standard output')
    .action(act(exportChain));
}

async function exportChain(invocation: Invocation, text: string, { out }: { out?: string }): Promise<void> {
  const { world, json } = invocation;
  if (out === undefined && !json && world.out.isTty) {
    throw new UsageError('Cannot write a chain to the terminal: it is binary', 'name a file with --out FILE');
  }
  const mesh = await invocation.mesh();
  const leaf = await findLink(mesh, text);
  const answer = await mesh.call('chainBundle', { params: { leaf } });
  const bytes = Buffer.from(answer.bundle, 'base64url');
  if (out === undefined) {
    if (json) invocation.answer(answer, () => '');
    else world.out.write(bytes);
    return;
  }
  const file = resolve(world.cwd, out);
  await writeFile(file, bytes);
  invocation.answer({ leaf, bytes: answer.bytes, file }, () => `wrote ${file}, ${formatBytes(answer.bytes)}\n`);
  invocation.suggest('check it', 'verify-chain', out);
}
