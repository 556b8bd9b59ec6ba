import { MemoryStore } from '../../../daemon/store/memory.ts';
import { describeStore } from './compliance.ts';

describeStore('MemoryStore', () => Promise.resolve(new MemoryStore()));
