// Prompt templates: the one in the model file, or a named one, rendered from the messages.
import { Template } from '@huggingface/jinja';
import type { ToolCall } from './calls.ts';
import { badRequest, settingFault } from './errors.ts';

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

/** Throws when the template cannot be read, so that it shows at the start and not at the first chat. */
export function openTemplate(source: TemplateSource): { readonly render: Render; readonly takesTools: boolean; readonly from: string } {
  const named = NAMED[source.name];
  const text = named ?? source.own ?? NAMED['chatml']!;
  const template = parse(text);
  return {
    from: named !== undefined ? source.name : source.own === null ? 'chatml (the file has none)' : 'the model file',
    takesTools: /\btools\b/.test(text),
    render(messages, tools) {
      try {
        return template.render({ messages: messages.map(withParsedArguments), ...(tools === null ? {} : { tools }), add_generation_prompt: true, bos_token: source.bos, eos_token: source.eos });
      } catch (error) {
        throw badRequest(`The prompt template refuses these messages: ${(error as Error).message}`, 'messages');
      }
    },
  };
}

function parse(text: string): Template {
  try {
    return new Template(text);
  } catch (error) {
    throw settingFault(`the prompt template in the model file cannot be read: ${(error as Error).message}. Set promptTemplate to one of ${Object.keys(NAMED).join(', ')}.`);
  }
}

/** Clients send a call's arguments as text; templates print them as JSON and would quote that text once more. */
function withParsedArguments(message: Message): Message {
  if (!Array.isArray(message.tool_calls)) return message;
  const calls = (message.tool_calls as readonly ToolCall[]).map((call) => ({ ...call, function: { ...call.function, arguments: parsed(call.function.arguments) } }));
  return { ...message, tool_calls: calls };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
