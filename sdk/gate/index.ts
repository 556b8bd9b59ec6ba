/**
 * The lean door of the SDK: gates and links, for processes that stand beside an agent's tools and should be small. The gate in
 * this process is loaded where one is opened.
 */
import type { Gate } from '../../protocol/policy/index.ts';
import type { LocalGateOptions } from './local-gate.ts';

export { type DaemonGateOptions, openDaemonGate } from './daemon-gate.ts';
export { readPolicySource } from './policy-source.ts';
export type { PolicyFile, PolicySource } from '../../protocol/policy/index.ts';
export { findOwnAgent, homePathsOf, isSetUp } from './own-agent.ts';
export { type LinkEvents, type LinkOptions, openLink, type ServerLink } from '../link.ts';
export { createLineReader, createLineWriter } from '../servers/lines.ts';
export { findPlace, type Place, type PlaceOptions } from '../place.ts';
export type { LocalGateOptions } from './local-gate.ts';

/** See local-gate.ts. Errors: policy_invalid, permissions. */
export const openLocalGate = async (options: LocalGateOptions): Promise<Gate> =>
  (await import('./local-gate.ts')).openLocalGate(options);
