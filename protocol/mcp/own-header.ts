/** Headers that say what a client of MCP over HTTP says of itself, or that are about one connection only. */
const OWN_HEADERS =
  /^(?:host|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|content-.*|accept|accept-encoding|mcp-.*|last-event-id)$/i;

/** Whether whoever speaks MCP to a server sets this one by itself, so that nobody else may. */
export const isOwnHeader = (name: string): boolean => OWN_HEADERS.test(name);
