/** agentmeshd: parses its command line, starts the daemon, says what there is, stops in order. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { isMeshError } from '../protocol/index.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { passphraseFrom } from './keys/passphrase.ts';
import { flagOf, SETTING_NAMES, SETTINGS, type SettingName } from './settings.ts';

const VERSION = (JSON.parse(readFileSync(packageJson(), 'utf8')) as { version: string }).version;
const STOP_MS = 10_000; // an orderly stop takes well under two seconds; a supervisor kills after ten or more

/** Beside the folder in a checkout, one further up in dist/. */
function packageJson(): URL {
  return import.meta.url.endsWith('.ts')
    ? new URL('../package.json', import.meta.url)
    : new URL('../../package.json', import.meta.url);
}

const HELP = `agentmeshd ${VERSION}: the daemon of one organisation in an AgentMesh network

Usage: agentmeshd [--home DIR] [--org NAME] [options]

Without options it keeps everything in ~/.agentmesh (or $AGENTMESH_HOME), makes an organisation there on
its first start, and listens on port 4801. Stop it with Ctrl-C; a second one forces it.

  --home DIR              where everything is kept
  --org NAME              name of the organisation, shown to people (setting "organisation")
  --passphrase-file FILE  passphrase of the private keys; encrypts them if they are not
  --passphrase-fd N       the same from an open file descriptor
  --version, --help

Settings of agentmesh.yaml, each also as an environment variable AGENTMESH_…; lists may be repeated:

${SETTING_NAMES.map((name) => `  ${`${flagOf(name)} VALUE`.padEnd(32)} ${SETTINGS[name].kind.want}`).join('\n')}
`;

async function main(): Promise<void> {
  process.umask(0o077); // nothing of ours is ever open to others, not even before its mode is set
  const flags = parseFlags(process.argv.slice(2));
  if (flags.help === true) return void process.stdout.write(HELP);
  if (flags.version === true) return void process.stdout.write(`${VERSION}\n`);
  const passphrase = await passphraseFrom({
    file: flags['passphrase-file'] as string | undefined,
    fd: flags['passphrase-fd'] === undefined ? undefined : Number(flags['passphrase-fd']),
    env: process.env,
  });
  const daemon = await startDaemon({
    home: flags.home as string | undefined,
    env: process.env,
    flags: settingsIn(flags),
    passphrase,
    version: VERSION,
  });
  heedSignals(daemon);
  process.stdout.write(greeting(daemon));
}

type Flags = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

/** Exits with 2 and a line on stderr where the line makes no sense. */
function parseFlags(args: readonly string[]): Flags {
  const settings = Object.fromEntries(
    SETTING_NAMES.map((name) => [flagOf(name).slice(2), { type: 'string', multiple: true } as const]),
  );
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        ...settings,
        home: { type: 'string' },
        org: { type: 'string' },
        'passphrase-file': { type: 'string' },
        'passphrase-fd': { type: 'string' },
        version: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
    return values;
  } catch (error) {
    process.stderr.write(
      `agentmeshd: ${error instanceof Error ? error.message : String(error)}\nRun "agentmeshd --help" for what there is\n`,
    );
    process.exit(2);
  }
}

function settingsIn(flags: Flags): Partial<Record<SettingName, string | readonly string[]>> {
  const given: Partial<Record<SettingName, string | readonly string[]>> = {};
  for (const name of SETTING_NAMES) {
    const value = flags[flagOf(name).slice(2)];
    if (Array.isArray(value)) given[name] = value.length === 1 ? String(value[0]) : value.map(String);
  }
  if (typeof flags.org === 'string') given.organisation = flags.org;
  return given;
}

function greeting({
  did,
  organisationName,
  peerId,
  addresses,
  paths,
  socket,
  apiUrl,
  isNew,
  recoveryFiles,
  warnings,
}: Daemon): string {
  const rows: [string, string][] = [
    ['organisation', `${did}${organisationName === null ? '' : `  (${organisationName})`}`],
    ['PeerId', peerId],
    ...addresses.map((address): [string, string] => ['address', address]),
    ['socket', socket],
    ...(apiUrl === undefined ? [] : [['API', apiUrl] as [string, string]]),
    ['home', paths.home],
  ];
  const lines = [`agentmeshd ${VERSION} is ready`, ...rows.map(([name, value]) => `  ${name.padEnd(13)} ${value}`)];
  if (isNew && recoveryFiles.length > 0) {
    lines.push(
      '',
      'Recovery keys were made, any 2 of 3 take the organisation back. Move them offline, to different places:',
      ...recoveryFiles.map((file) => `  ${file}`),
    );
  }
  for (const { message } of warnings) lines.push('', `Note: ${message}`);
  lines.push('', 'Next:', ...nextSteps(paths.home, addresses).map((line) => `  ${line}`), '');
  return `${lines.join('\n')}\n`;
}

function nextSteps(home: string, addresses: readonly string[]): string[] {
  const at = process.env['AGENTMESH_HOME'] === home || home.endsWith('/.agentmesh') ? '' : ` --home ${home}`;
  const first = addresses.find((address) => address.includes('/127.0.0.1/')) ?? addresses[0];
  return [
    `npx agentmesh${at} init --name my-agent --sponsor you@example.com    an agent with a human sponsor`,
    `npx agentmesh${at} status                                            what this daemon sees`,
    ...(first === undefined
      ? []
      : [`npx agentmeshd --home OTHER --listen /ip4/127.0.0.1/tcp/0 --bootstrap ${first}    a second organisation`]),
  ];
}

/** The first signal stops in order, the second at once. */
function heedSignals(daemon: Daemon): void {
  process.on('SIGHUP', () => void daemon.reload());
  let stopping = false;
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) {
      daemon.log.warn({ signal }, 'forced to stop');
      process.exit(1);
    }
    stopping = true;
    daemon.log.info({ signal }, 'stopping');
    const timer = setTimeout(() => {
      daemon.log.error({}, 'could not stop in order');
      process.exit(1);
    }, STOP_MS);
    daemon.close().then(
      () => {
        clearTimeout(timer);
        process.exit(0);
      },
      (error: unknown) => {
        daemon.log.error({ error }, 'stopped with an error');
        process.exit(1);
      },
    );
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
}

function fail(error: unknown): never {
  const message = isMeshError(error)
    ? `${error.message} (${error.code})`
    : error instanceof Error
      ? (error.stack ?? error.message)
      : String(error);
  process.stderr.write(`agentmeshd: ${message}\n`);
  process.exit(isMeshError(error) && error.code === 'config_invalid' ? 2 : 1);
}

main().catch(fail);
