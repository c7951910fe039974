// Renders the Go templates of ../ollama/ as Ollama does and compares them with ../chat_rendered.json:
//
//	go run ollama.go
//
// Ollama gives a template the system messages joined as .System and all messages as .Messages, and puts BOS in front
// itself. Chats with tools, documents or thinking are outside of what the templates promise.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

type message struct{ Role, Content string }

func read(path string, into any) {
	bytes, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(bytes, into)
	}
	if err != nil {
		panic(err)
	}
}

func main() {
	var cases struct {
		Conversations map[string]struct{ Messages []message }
	}
	var rendered map[string]map[string]map[string]struct{ Text string }
	read("../chat_cases.json", &cases)
	read("../chat_rendered.json", &rendered)
	paths, _ := filepath.Glob("../ollama/*.tmpl")
	failed := false
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".tmpl")
		source, _ := os.ReadFile(path)
		parsed := template.Must(template.New(name).Parse(string(source)))
		for _, chat := range []string{"user", "system", "unicode", "wrong order"} {
			messages := cases.Conversations[chat].Messages
			var system []string
			for _, m := range messages {
				if m.Role == "system" {
					system = append(system, m.Content)
				}
			}
			// The golden file continues after the assistant only with a new turn.
			prompt := messages[len(messages)-1].Role != "assistant"
			var out strings.Builder
			err := parsed.Execute(&out, map[string]any{"System": strings.Join(system, "\n\n"), "Messages": messages})
			expected := strings.TrimPrefix(rendered[name][chat][fmt.Sprint(prompt)].Text, "<s>")
			if !prompt {
				expected = strings.TrimSuffix(strings.TrimRight(expected, "\n"), "<|im_end|>")
				expected = strings.TrimSuffix(expected, "<|eot_id|>")
			}
			if err != nil || out.String() != expected {
				failed = true
				fmt.Printf("%s, %s: %v\n expected %q\n given    %q\n", name, chat, err, expected, out.String())
			}
		}
	}
	if failed {
		os.Exit(1)
	}
	fmt.Println(len(paths), "templates agree")
}
