/** The door of protocol/: rules and formats, pure. */
export * from './errors.ts';
export * from './domains.ts';
export * as limits from './limits.ts';
