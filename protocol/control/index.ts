/** The control API as data; its schemas are in `schemas`. */
export * as schemas from './schemas.ts';
export type * from './schemas.ts';
export * from './backend.ts';
export * from './events.ts';
export * from './http-status.ts';
export * from './login.ts';
export * from './routes.ts';
