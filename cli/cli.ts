/** A whole command line: parsed, run, answered. */
import { CommanderError } from 'commander';
import { isMeshError } from '../protocol/index.ts';
import { EXIT, type ExitCode } from './exit.ts';
import { findHome, isSetUp } from './home.ts';
import { type Handler, Invocation } from './invocation.ts';
import { connectTo } from './mesh.ts';
import { formatProblem, type Place, type Problem, problemJson, problemOf, UsageError } from './problem.ts';
import { createProgram } from './program.ts';
import { plainJson } from './text/plain.ts';
import { createPaint, hasColour } from './text/style.ts';
import type { World } from './world.ts';

/** Runs one command line to its end. Never throws. */
export async function runCli(world: World): Promise<ExitCode> {
  let exit: ExitCode = EXIT.ok;
  let place: Place = { home: '', isHomeGiven: false, isSetUp: true };
  const act =
    <A extends unknown[]>(handler: Handler<A>) =>
    async (...given: unknown[]): Promise<void> => {
      const options = program.opts<{ home?: string; json?: true }>();
      const paths = findHome(options.home, world);
      place = { home: paths.home, isHomeGiven: options.home !== undefined, isSetUp: isSetUp(paths) };
      const invocation = new Invocation({
        world,
        json: options.json === true,
        paths,
        place,
        connect: () => connectTo(paths, world, place.isHomeGiven),
      });
      // Commander adds itself as the last argument; the others are what the command declares.
      exit = (await handler(invocation, ...(given.slice(0, -1) as A))) ?? EXIT.ok;
    };
  const program = createProgram({ world, act });
  try {
    await program.parseAsync(world.argv, { from: 'user' });
    return exit;
  } catch (error) {
    if (error instanceof CommanderError && isHelp(error)) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const shown = error instanceof CommanderError ? usageOf(error, world.argv, program) : error;
    if (world.signal.aborted && (!isMeshError(shown) || shown.code === 'cancelled')) return interruptedBy(world.signal);
    tell(problemOf(shown, place), world);
    return problemOf(shown, place).exit;
  }
}

const isHelp = ({ code }: CommanderError): boolean =>
  ['commander.helpDisplayed', 'commander.help', 'commander.version'].includes(code);

/** 128 and the signal's number, as shells have it. */
const interruptedBy = ({ reason }: AbortSignal): ExitCode =>
  isMeshError(reason) && reason.data['signal'] === 'SIGTERM' ? 143 : EXIT.interrupted;

/** What commander says, in the words of the other errors. */
function usageOf(
  { message }: CommanderError,
  argv: readonly string[],
  program: ReturnType<typeof createProgram>,
): UsageError {
  const [first = '', ...rest] = message.replace(/^error: /, '').split('\n');
  const text = first.replaceAll("'", '"').replace(/\.$/, '');
  const meant = /^\(Did you mean (?:one of )?(.+)\?\)$/.exec(rest.join(' '))?.[1];
  const help = `agentmesh ${[...commandPath(argv, program), '--help'].join(' ')}`;
  return new UsageError(
    `${text.charAt(0).toUpperCase()}${text.slice(1)}`,
    meant === undefined ? `see "${help}"` : `did you mean "${meant.split(', ').join('" or "')}"?`,
  );
}

/** The command that the line names, as far as there is one. */
function commandPath(argv: readonly string[], program: ReturnType<typeof createProgram>): string[] {
  const path: string[] = [];
  let at = program;
  for (const word of argv) {
    if (word === '--') break;
    const next = at.commands.find((command) => command.name() === word);
    if (next === undefined) continue;
    path.push(word);
    at = next;
  }
  return path;
}

function tell(problem: Problem, { argv, err, env }: World): void {
  const end = argv.indexOf('--');
  const isJson = (end < 0 ? argv : argv.slice(0, end)).includes('--json');
  err.write(
    isJson ? `${plainJson(problemJson(problem))}\n` : formatProblem(problem, createPaint(hasColour(err.isTty, env))),
  );
}
