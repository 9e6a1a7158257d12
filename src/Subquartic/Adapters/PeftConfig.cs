using System.Text.Json;
using System.Text.Json.Nodes;
using Subquartic.Checkpoints;
using Subquartic.Files;

namespace Subquartic.Adapters;

/// <summary>adapter_config.json of the PEFT library (peft 0.13, tuners/lora/config.py, LoraConfig): rank and alpha of each layer.</summary>
internal static class PeftConfig
{
    /// <summary>Name of the file beside an adapter.</summary>
    public const string FileName = "adapter_config.json";

    /// <summary>Writes the file so that the PEFT library loads the adapter on the official model.</summary>
    /// <param name="path">The file.</param>
    /// <param name="options">Rank, alpha, new classes.</param>
    /// <param name="layers">The layers changed.</param>
    /// <param name="model">What the adapter was trained on.</param>
    public static void Write(string path, LoraOptions options, IReadOnlyList<LoraLayer> layers, string model)
    {
        // Parts of mat_qkv are stacked in one pair of factors, whose rank is that of all parts together and whose scale is that of one.
        LoraLayer? stacked = layers.FirstOrDefault(layer => layer.Rank != options.Rank);
        var ranks = new JsonObject();
        var alphas = new JsonObject();
        if (stacked is not null)
        {
            string name = stacked.Module[(stacked.Module.LastIndexOf('.') + 1)..];
            ranks[name] = stacked.Rank;
            alphas[name] = options.Alpha * stacked.Parts.Count;
        }

        var json = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["base_model_name_or_path"] = model,
            ["task_type"] = null,
            ["inference_mode"] = true,
            ["r"] = options.Rank,
            ["lora_alpha"] = options.Alpha,
            ["rank_pattern"] = ranks,
            ["alpha_pattern"] = alphas,
            ["target_modules"] = new JsonArray([.. layers.Select(layer => (JsonNode)layer.Module)]),
            ["modules_to_save"] = options.NewClasses.Count > 0 ? new JsonArray("class_emb") : null,
            ["lora_dropout"] = 0.0,
            ["fan_in_fan_out"] = false,
            ["bias"] = "none",
            ["use_rslora"] = false,
            ["use_dora"] = false,
        };
        AtomicFile.WriteText(path, json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n");
    }

    /// <summary>The scale of a layer, checked against its rank.</summary>
    /// <param name="file">The file.</param>
    /// <param name="module">Official name of the layer.</param>
    /// <param name="rank">Rank of its tensors.</param>
    /// <returns>alpha / rank, or alpha / sqrt(rank) where the file says so.</returns>
    /// <exception cref="CheckpointException">The file asks for what is not supported, lacks a field or states another rank.</exception>
    public static double Scale(ConfigFile file, string module, int rank)
    {
        if (Text(file, "peft_type") is { } type && type != "LORA")
        {
            throw new CheckpointException(file.Path, "peft_type", $"'{type}', expected 'LORA'");
        }

        foreach (string unsupported in (string[])["use_dora", "fan_in_fan_out"])
        {
            if (file.Root.TryGetProperty(unsupported, out JsonElement value) && value.ValueKind == JsonValueKind.True)
            {
                throw new CheckpointException(file.Path, unsupported, "true, which is not supported");
            }
        }

        double stated = Number(file, "r", "rank_pattern", module);
        if (stated != rank)
        {
            throw new CheckpointException(file.Path, "r", $"{stated} for {module}, whose tensors have rank {rank}");
        }

        double alpha = Number(file, "lora_alpha", "alpha_pattern", module);
        bool rootScaled = file.Root.TryGetProperty("use_rslora", out JsonElement rs) && rs.ValueKind == JsonValueKind.True;
        return alpha / (rootScaled ? Math.Sqrt(rank) : rank);
    }

    private static string? Text(ConfigFile file, string field) =>
        file.Root.TryGetProperty(field, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static double Number(ConfigFile file, string field, string pattern, string module)
    {
        if (file.Root.TryGetProperty(pattern, out JsonElement patterns) && patterns.ValueKind == JsonValueKind.Object)
        {
            foreach (JsonProperty entry in patterns.EnumerateObject())
            {
                if (module == entry.Name || module.EndsWith($".{entry.Name}", StringComparison.Ordinal))
                {
                    return Value(entry.Value, $"{pattern}.{entry.Name}");
                }
            }
        }

        return file.Root.TryGetProperty(field, out JsonElement value)
            ? Value(value, field)
            : throw new CheckpointException(file.Path, field, "there is no such field");

        double Value(JsonElement element, string name) => element.ValueKind == JsonValueKind.Number && element.TryGetDouble(out double number) && double.IsFinite(number)
            ? number
            : throw new CheckpointException(file.Path, name, $"{element.GetRawText()}, expected a number");
    }
}
