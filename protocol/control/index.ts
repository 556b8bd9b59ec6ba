/** The control API as data; its schemas are in `schemas`. */
export * as schemas from './schemas.ts';
export type * from './schemas.ts';
export type * from './policy-schemas.ts';
export type * from './call-schemas.ts';
export { API_VERSION, LINK_UPGRADE } from './api-version.ts';
export * from './backend.ts';
export { checkJson } from './check.ts';
export { nearest } from './nearest.ts';
export * from './events.ts';
export * from './http-status.ts';
export { parseJsonStrict } from './json.ts';
export * from './login.ts';
export { createOpenApiDocument } from './openapi.ts';
export * from './routes.ts';
