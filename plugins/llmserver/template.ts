// Prompt templates: the one in the model file, or a named one, rendered from the messages.
import { Template } from '@huggingface/jinja';
import { badRequest } from './errors.ts';

export type Message = { readonly role: string; readonly content?: unknown; readonly name?: string; readonly tool_calls?: unknown; readonly tool_call_id?: string };
export type Render = (messages: readonly Message[], tools: readonly unknown[] | null) => string;

const NAMED: Readonly<Record<string, string>> = {
  chatml: "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  llama3: "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
  mistral: "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}",
  gemma: "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\\n' + m.content + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
  phi3: "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
};

export const TEMPLATE_NAMES = ['auto', ...Object.keys(NAMED)];

export type TemplateSource = { readonly name: string; /** The template in the model file. */ readonly own: string | null; readonly bos: string; readonly eos: string };

/** Throws for an unknown name, so that a wrong setting shows at the start and not at the first chat. */
export function openTemplate(source: TemplateSource): { readonly render: Render; readonly takesTools: boolean; readonly from: string } {
  const named = NAMED[source.name];
  if (source.name !== 'auto' && named === undefined) throw new Error(`there is no prompt template "${source.name}"; known: ${TEMPLATE_NAMES.join(', ')}`);
  const text = named ?? source.own ?? NAMED['chatml']!;
  const template = new Template(text);
  return {
    from: named !== undefined ? source.name : source.own === null ? 'chatml (the file has none)' : 'the model file',
    takesTools: /\btools\b/.test(text),
    render(messages, tools) {
      try {
        return template.render({ messages: messages.map(plain), ...(tools === null ? {} : { tools }), add_generation_prompt: true, bos_token: source.bos, eos_token: source.eos });
      } catch (error) {
        throw badRequest(`The prompt template refuses these messages: ${(error as Error).message}`, 'messages');
      }
    },
  };
}

/** Content may come in parts; this server reads text. */
function plain(message: Message): Message {
  if (typeof message.content === 'string') return message;
  if (message.content === undefined || message.content === null) return { ...message, content: '' };
  if (!Array.isArray(message.content)) throw badRequest('A message\'s content must be a string or a list of parts.', 'messages');
  const parts = message.content as readonly { readonly type?: unknown; readonly text?: unknown }[];
  const other = parts.find((part) => part.type !== 'text' || typeof part.text !== 'string');
  if (other !== undefined) throw badRequest(`This server reads text only, not ${JSON.stringify(other.type)}.`, 'messages');
  return { ...message, content: parts.map((part) => part.text).join('') };
}
