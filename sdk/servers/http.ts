/** Servers behind Streamable HTTP: the client's side of it, and what its server's side shares with that. */
export {
  createUpstream,
  JSON_TYPE,
  parseHeaders,
  parseServerUrl,
  type Upstream,
  type UpstreamAnswer,
  type UpstreamOptions,
} from './http-client.ts';
export { createHttpLink } from './http-link.ts';
export { encodeHeader, nameOf, paramFault, type ParamHeaders, readParamHeaders } from './http-mirror.ts';
export { EVENT_STREAM, formatEvent, KEEP_ALIVE, type ServerEvent } from './sse.ts';
