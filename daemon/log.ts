import { pino } from 'pino';
import { isMeshError } from '../protocol/index.ts';
import type { Logger } from './ports.ts';
import type { LogLevel } from './settings.ts';

/** One JSON object a line on stderr, so that stdout is for people. Never keys or payloads: nobody passes any. */
export function createLogger(level: LogLevel): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: serializeError },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}

function serializeError(error: unknown): unknown {
  if (isMeshError(error)) return { code: error.code, message: error.message, cause: causeOf(error) };
  if (error instanceof Error) return { message: error.message, stack: error.stack, cause: causeOf(error) };
  return String(error);
}

const causeOf = ({ cause }: Error): string | undefined => (cause instanceof Error ? cause.message : undefined);
