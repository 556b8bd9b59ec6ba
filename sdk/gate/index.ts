/** The lean door of the SDK: gates, for processes that stand beside an agent's tools and should be small. */
export { openDaemonGate, type DaemonGateOptions, type PolicySource } from './daemon-gate.ts';
export { findPlace, type Place, type PlaceOptions } from '../place.ts';
