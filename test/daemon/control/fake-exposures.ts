/** The daemon's own exposures over a store in memory; their servers all have the same tools, and run nowhere. */
import { UNRECORDED } from '../../../daemon/core/calls/exposure-entries.ts';
import { Exposures } from '../../../daemon/core/calls/exposures.ts';
import { createExposuresBackend, type ExposuresOperation } from '../../../daemon/core/calls/exposures-backend.ts';
import type { PolicyLibrary } from '../../../daemon/core/governance/policy-library.ts';
import type { McpServers } from '../../../daemon/ports.ts';
import { MemoryStore } from '../../../daemon/store/memory.ts';
import { createSystemClock } from '../../../daemon/system.ts';
import type { ControlBackend } from '../../../protocol/control/index.ts';

/** Of a command that cannot be started. */
export const BROKEN_COMMAND = '/nowhere/server';

const RESULTS: Readonly<Record<string, object>> = {
  initialize: {
    protocolVersion: '2025-11-25',
    capabilities: { tools: {} },
    serverInfo: { name: 'fake', version: '1' },
  },
  'tools/list': { tools: [{ name: 'read_file', description: 'Reads a file' }, { name: 'write file' }] },
};

export const fakeServers: McpServers = {
  open: (server, events) => {
    if ('command' in server && server.command[0] === BROKEN_COMMAND)
      queueMicrotask(() => events.ended('no such command'));
    return {
      send: (message) => {
        const result = message.kind === 'request' ? RESULTS[message.method] : undefined;
        if (message.kind !== 'request' || result === undefined) return;
        const answer = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }));
        queueMicrotask(() => events.message(answer));
      },
      isFull: false,
      backlogBytes: 0,
      setPaused: () => undefined,
      end: async () => undefined,
      paths: { canonicalPaths: (texts) => texts },
    };
  },
};

export interface FakeExposuresComponents {
  readonly library: PolicyLibrary;
  readonly organisation: string;
  readonly acting: (did: string) => unknown;
}

export async function openFakeExposures({
  library,
  organisation,
  acting,
}: FakeExposuresComponents): Promise<Pick<ControlBackend, ExposuresOperation>> {
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const exposures = await Exposures.open({ store: new MemoryStore(), log, library, entries: UNRECORDED });
  return createExposuresBackend({
    exposures,
    clock: createSystemClock(),
    servers: fakeServers,
    sessions: { list: () => [], useOf: () => undefined },
    organisation,
    acting,
    ask: async ({ did }) => ({
      did,
      organisation: did,
      services: [{ name: 'files', description: 'Reports of the last quarters' }],
      grants: 1,
    }),
  });
}
