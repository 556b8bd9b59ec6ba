/**
 * An MCP server over stdio with one tool, which takes long: it goes through an archive box by box, and says so as it
 * goes, until it is through or cancelled.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { CallToolRequestSchema, ListToolsRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const BOXES = 600;
const BOX_MS = 100;

const server = new Server({ name: 'archive', version: '1.0.0' }, { capabilities: { tools: {} } });

server.setRequestHandler(ListToolsRequestSchema, () => ({
  tools: [
    {
      name: 'search_archive',
      description: 'Looks into every box for a word',
      inputSchema: { type: 'object', properties: { word: { type: 'string' } }, required: ['word'] },
    },
  ],
}));

server.setRequestHandler(CallToolRequestSchema, async ({ params }, { signal, sendNotification }) => {
  const progressToken = params._meta?.progressToken;
  for (let progress = 1; progress <= BOXES; progress += 1) {
    await sleep(BOX_MS, undefined, { signal });
    if (progressToken === undefined) continue;
    const message = `box ${progress}, process ${process.pid}`;
    await sendNotification({
      method: 'notifications/progress',
      params: { progressToken, progress, total: BOXES, message },
    });
  }
  return { content: [{ type: 'text', text: `nothing about ${JSON.stringify(params.arguments?.['word'])}` }] };
});

await server.connect(new StdioServerTransport());
