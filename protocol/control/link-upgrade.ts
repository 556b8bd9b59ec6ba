/** What a request to open a link asks to speak from then on (RFC 9110 section 7.8). */
export const LINK_UPGRADE = 'agentmesh-link';
