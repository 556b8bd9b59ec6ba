/** The side that calls: links of own clients to servers that other organisations expose. */
export type { CallerLink, LinkControl, LinkEvents, LinkInfo, LinkWanted, OpenLink } from './caller-ports.ts';
