/** The daemon put together: home, keys, store, network, core and control API, opened and closed in order. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Status, Warning } from '../protocol/control/index.ts';
import type { HomePaths } from '../protocol/index.ts';
import { parseVkey } from '../protocol/log/index.ts';
import { isSignatureValidSodium, SecretKey } from '../protocol/sodium.ts';
import { type ResolvedConfig, loadConfig, writeNewConfig } from './config.ts';
import { createControlServer } from './control/server.ts';
import { witnessAtUrl } from './control/witness-client.ts';
import { createWitnessServer, type WitnessServer } from './control/witness-server.ts';
import { createBackend } from './core/backend.ts';
import type { NodeLogOptions } from './core/log/node-log.ts';
import type { Witness } from './core/log/witness.ts';
import { MeshNode } from './core/node.ts';
import { claimSocket, openHome, removeDaemonInfo, writeDaemonInfo, writeRoots } from './home.ts';
import { openKeyRing, type KeyRing } from './keys/ring.ts';
import type { Passphrase } from './keys/passphrase.ts';
import { createLibp2pNetwork, type Libp2pNetwork } from './libp2p/index.ts';
import { createLogger } from './log.ts';
import type { Logger, Signer } from './ports.ts';
import { createDecisionPoint } from './pdp/index.ts';
import { createMcpServers } from './mcp-servers.ts';
import { createPolicyFiles } from './policy-files.ts';
import { approverOf, type Config, hostPortOf, isFilePolicy, type SettingName, witnessUrlOf } from './settings.ts';
import { createFileAnchor } from './store/anchor.ts';
import { openLevelStore } from './store/level.ts';
import { createSystemClock, createSystemRandom, sha256 } from './system.ts';
import { createVerifyPool } from './verify-pool.ts';

export interface DaemonOptions {
  readonly home: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly flags: Partial<Record<SettingName, string | readonly string[]>>;
  readonly passphrase: Passphrase | undefined;
  readonly version: string;
}

export interface Daemon extends AsyncDisposable {
  readonly did: string;
  readonly organisationName: string | null;
  readonly peerId: string;
  readonly addresses: readonly string[];
  readonly paths: HomePaths;
  readonly socket: string;
  /** Of the control API on loopback, where one was asked for. */
  readonly apiUrl: string | undefined;
  /** Made by this start: the home was empty. */
  readonly isNew: boolean;
  readonly recoveryFiles: readonly string[];
  readonly warnings: readonly Warning[];
  readonly log: Logger;
  /** Reads the configured policies again. Never rejects: the log says what is wrong with them. */
  reload(): Promise<void>;
  /** Ends event streams, tells peers, writes what is open. */
  close(): Promise<void>;
}

const NODE_KEY = 'node';
const DEFAULT_PORT = 4801;

/** Everything is up when it resolves. Errors: config_invalid, permissions, key_locked, already_running, store_corrupt. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { env, flags, version } = options;
  const opened = new AsyncDisposableStack();
  try {
    const paths = await openHome(options.home, env);
    const isNew = !existsSync(paths.config);
    if (isNew)
      await writeNewConfig(
        paths.config,
        typeof flags.organisation === 'string' ? { organisation: flags.organisation } : {},
      );
    const resolved = await loadConfig({ file: paths.config, env, flags });
    const { config } = resolved;
    const log = createLogger(config.logLevel);
    for (const warning of resolved.warnings) log.warn({}, warning);
    const clock = createSystemClock();
    const random = createSystemRandom();

    const store = opened.use(await openLevelStore(paths.database));
    const anchor = opened.use(createFileAnchor(paths.anchor));
    const keys = opened.use(await openKeyRing({ directory: paths.keys, passphrase: options.passphrase, random, log }));
    const nodeSigner = keys.has(NODE_KEY) ? keys.signer(NODE_KEY) : await keys.create(NODE_KEY);
    const listen = await listenOn(resolved, log);
    const network = opened.use(await createNetwork(resolved, listen, paths, keys, { clock, random, log }));
    const checkSignatures = opened.use(createVerifyPool({ log, threads: availableParallelism() }));
    const recoveryFiles: string[] = [];
    const exposedPolicies = config.expose.flatMap(({ policy }) => policy ?? []).filter(isFilePolicy);
    const policyFiles = opened.use(createPolicyFiles({ ...config, exposedPolicies }));
    const mcpServers = opened.use(await createMcpServers({ log }));
    const node = await MeshNode.open(
      {
        network,
        store,
        keys,
        clock,
        random,
        log,
        isSignatureValid: isSignatureValidSodium,
        checkSignatures,
        nodeSigner,
        ephemeralSigner,
        anchor,
        sha256,
        witnessAtUrl,
        mcpServers,
        makeRecoveryKeys: (count) => makeRecoveryKeys(count, paths, options.passphrase, { random, log }, recoveryFiles),
      },
      {
        networkName: config.network,
        organisationName: config.organisation,
        roots: config.roots,
        staleness: {
          readSeconds: config.stalenessReadSeconds,
          writeSeconds: config.stalenessWriteSeconds,
          criticalDomains: config.criticalDomains,
        },
        agentsPerSponsorMax: config.sponsorAgentsMax,
        credentialSeconds: config.credentialSeconds,
        heartbeatMs: config.heartbeatSeconds * 1000,
        syncMs: config.syncSeconds * 1000,
        audit: auditOptions(config, version),
        governance: {
          load: () => policyFiles.load(),
          pointOf: createDecisionPoint,
          environment: config.environment ?? undefined,
          approvers: config.approvers.flatMap((each) => approverOf(each) ?? []),
          requestsKeptMs: config.requestDays * 86_400_000,
        },
        exposed: config.expose,
      },
    );
    opened.defer(() => node.close());
    await node.start();
    policyFiles.watch(() => void reloadPolicies(node));
    await network.start();

    const witnessServer = await openWitnessServer(node.audit.witness, config, log);
    if (witnessServer !== undefined) {
      opened.use(witnessServer);
      log.info({ url: witnessServer.url }, 'the witness answers over HTTP');
    }

    const socket = config.socket ?? paths.socket;
    await claimSocket(socket, paths, store);
    const warnings = (): Warning[] => [...warningsOf(resolved, keys, paths), ...policyWarnings(node)];
    const startedMs = clock.nowMs();
    let isReady = true;
    const backend = createBackend(node, {
      version,
      home: paths.home,
      socket,
      startedMs,
      networkName: config.network,
      keysEncrypted: keys.isEncrypted,
      listening: reachOf(network.addresses()),
      witnessUrl: witnessServer?.url ?? null,
      warnings,
    });
    const server = await createControlServer(backend, {
      socketPath: socket,
      ...(config.apiPort !== null && { tcp: { host: '127.0.0.1', port: config.apiPort } as const }),
      log,
      tokens: { agentOf: (token) => node.agents.agentOfToken(token) },
      events: node.events,
      links: (wanted, events, signal) => node.calls.caller.openLink(wanted, events, signal),
      ready: () => ({
        ready: isReady,
        checks: [
          { name: 'store', ok: !store.isReadOnly },
          { name: 'network', ok: network.addresses().length > 0 || config.listen.length === 0 },
        ],
      }),
      version,
    });
    opened.use(server);
    await writeRoots(paths, [node.organisation.did, ...config.roots]);
    await writeDaemonInfo(paths, { pid: process.pid, version, socket, started: new Date(startedMs).toISOString() });
    opened.defer(() => removeDaemonInfo(paths));
    opened.defer(() => {
      isReady = false;
    });
    const close = once(() => opened.disposeAsync());
    return {
      did: node.organisation.did,
      organisationName: node.organisation.name,
      peerId: network.peer,
      addresses: network.addresses(),
      paths,
      socket,
      apiUrl: server.tcp === undefined ? undefined : `http://${server.tcp.host}:${server.tcp.port}`,
      isNew,
      recoveryFiles,
      warnings: warnings(),
      log,
      reload: () => reloadPolicies(node),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}

/** What is wrong with the newest files is in the log and in the status; the last good ones stay in force. */
const reloadPolicies = ({ governance }: MeshNode): Promise<void> => governance.library.reload().catch(() => {}); // the library has logged it

/** The configuration was checked when it was read. */
const auditOptions = (config: Config, version: string): NodeLogOptions => ({
  version,
  witnessLogs: config.witnessLogs.map(parseVkey),
  witnesses: config.witnesses,
  witnessUrls: config.witnessUrls.flatMap((each) => witnessUrlOf(each) ?? []),
  ...(config.witnessQuorum !== null && { witnessQuorum: config.witnessQuorum }),
  logReaders: config.logReaders,
  logMirrors: config.logMirrors,
});

/** Undefined: none is configured. */
async function openWitnessServer(
  witness: Witness,
  { witnessListen }: Config,
  log: Logger,
): Promise<WitnessServer | undefined> {
  const place = witnessListen === null ? undefined : hostPortOf(witnessListen);
  return place === undefined ? undefined : createWitnessServer(witness, { ...place, log });
}

type Components = Pick<Parameters<typeof createLibp2pNetwork>[0], 'clock' | 'random' | 'log'>;

async function createNetwork(
  { config }: ResolvedConfig,
  listen: readonly string[],
  paths: HomePaths,
  keys: KeyRing,
  components: Components,
): Promise<Libp2pNetwork> {
  const privateKeySeed = keys.exportSeed(NODE_KEY);
  try {
    return await createLibp2pNetwork(components, {
      privateKeySeed,
      network: config.network,
      listen,
      bootstrap: config.bootstrap,
      anchors: config.anchors,
      directory: paths.peers,
      targetDegree: config.targetDegree,
      localNetwork: config.localNetwork,
      ...(config.psk !== null && { preSharedKey: await readFile(config.psk) }),
    });
  } finally {
    privateKeySeed.fill(0);
  }
}

/** The configured addresses; where nobody chose them and the default port is taken, any free port instead. */
async function listenOn({ config, origins }: ResolvedConfig, log: Logger): Promise<readonly string[]> {
  if (origins.listen.from !== 'default' || (await isPortFree(DEFAULT_PORT))) return config.listen;
  log.warn(
    { port: DEFAULT_PORT },
    'the default port is taken: listening on a free one, which changes with every start',
  );
  return config.listen.map((address) => address.replace(`/tcp/${DEFAULT_PORT}`, '/tcp/0'));
}

function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen(port, '0.0.0.0', () => probe.close(() => resolve(true)));
  });
}

function ephemeralSigner(): Signer {
  const seed = randomBytes(32);
  const key = new SecretKey(seed);
  seed.fill(0);
  return key;
}

/** Of the addresses listened on, the widest reach. */
function reachOf(addresses: readonly string[]): Status['listening'] {
  const reaches = addresses.map((address) => {
    const host = address.split('/')[2] ?? '';
    if (/^127\.|^::1$/.test(host)) return 'loopback' as const;
    return /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|f[cd]|fe80)/i.test(host)
      ? ('private' as const)
      : ('public' as const);
  });
  for (const reach of ['public', 'private', 'loopback'] as const) if (reaches.includes(reach)) return reach;
  return 'none';
}

function warningsOf({ warnings }: ResolvedConfig, keys: KeyRing, paths: HomePaths): Warning[] {
  const out: Warning[] = warnings.map((message) => ({ code: 'configuration', message }));
  if (!keys.isEncrypted) {
    out.push({
      code: 'keys_unencrypted',
      message: `The private keys in "${paths.keys}" are not encrypted: start once with --passphrase-file to encrypt them`,
    });
  }
  if (recoveryFilesIn(paths).length > 0) {
    out.push({
      code: 'recovery_keys_here',
      message: `The recovery keys are still in "${paths.recovery}": move them offline, to two places`,
    });
  }
  return out;
}

function policyWarnings({ governance }: MeshNode): Warning[] {
  const { problem } = governance.library.status();
  if (problem === undefined) return [];
  return [
    { code: 'policies', message: `Other policies are in force than those in the files: ${problem.error.message}` },
  ];
}

/** Recovery keys go to a folder of their own, to be carried away. */
async function makeRecoveryKeys(
  count: number,
  paths: HomePaths,
  passphrase: Passphrase | undefined,
  components: Pick<Components, 'random' | 'log'>,
  files: string[],
): Promise<Uint8Array[]> {
  await using ring = await openKeyRing({ directory: paths.recovery, passphrase, ...components });
  const keys: Uint8Array[] = [];
  for (let i = 1; i <= count; i++) {
    const name = `recovery-${i}`;
    if (!ring.has(name)) await ring.create(name);
    keys.push(ring.publicKey(name));
  }
  files.push(...recoveryFilesIn(paths));
  return keys;
}

const recoveryFilesIn = ({ recovery }: HomePaths): string[] =>
  readdirSync(recovery)
    .filter((name) => name.startsWith('recovery-'))
    .map((name) => join(recovery, name));

const once = (work: () => Promise<void>): (() => Promise<void>) => {
  let running: Promise<void> | undefined;
  return () => {
    running ??= work();
    return running;
  };
};
