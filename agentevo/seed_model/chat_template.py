"""The chat template in the GGUF file: ChatML, Qwen-style tool calls, tools shown by name only.

Naming the tools instead of showing their schemas keeps the prompts of a tiny model short; the
environment's instructions say how a command is written.
"""

CHAT_TEMPLATE = (
    "{%- set listed = '' %}"
    "{%- if tools %}{%- set names = namespace(all='') %}"
    "{%- for tool in tools %}"
    "{%- set f = tool.function if tool.function else tool %}"
    "{%- set names.all = names.all + (', ' if names.all else '') + f.name %}"
    "{%- endfor %}{%- set listed = 'Tools: ' + names.all %}{%- endif %}"
    "{%- if listed and (not messages or messages[0].role != 'system') %}"
    "{{- '<|im_start|>system\n' + listed + '<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'tool' %}"
    "{{- '<|im_start|>user\n<tool_response>\n' + message.content + "
    "'\n</tool_response><|im_end|>\n' }}"
    "{%- else %}"
    "{{- '<|im_start|>' + message.role + '\n' + (message.content or '') }}"
    "{%- if loop.first and listed and message.role == 'system' %}{{- '\n' + listed }}{%- endif %}"
    "{%- if message.tool_calls %}{%- for call in message.tool_calls %}"
    "{%- set f = call.function if call.function else call %}"
    "{%- if not loop.first or message.content %}{{- '\n' }}{%- endif %}"
    '{{- \'<tool_call>\n{"name": "\' + f.name + \'", "arguments": \' }}'
    "{{- f.arguments if f.arguments is string else f.arguments | tojson }}"
    "{{- '}\n</tool_call>' }}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
