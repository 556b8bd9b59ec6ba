/** What the command needs, loaded when it runs: no other command pays for the parsers. */
export { createMachine } from './machine.ts';
export { CLIENT_IDS, type ClientId, clientOf, foundPlaces, isClientId, type Place, placesOf } from './clients.ts';
export {
  type FileOutcome,
  type FoundFile,
  guessClient,
  lookInto,
  type Problem,
  type ServerOutcome,
  undoFile,
  withoutTwins,
  wrapFile,
} from './integrate.ts';
export { readConfig } from './config-file.ts';
export { Records } from './records.ts';
