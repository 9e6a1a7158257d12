using System.Text.Json;
using Subquartic.Checkpoints;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Adapters;

/// <summary>The two factors of a layer's change, scale B A.</summary>
/// <param name="A">(rank, inputs), row-major.</param>
/// <param name="B">(outputs, rank), row-major.</param>
/// <param name="Rank">Rank.</param>
/// <param name="Inputs">Columns of A.</param>
/// <param name="Outputs">Rows of B.</param>
/// <param name="Scale">Factor on the product.</param>
public sealed record LoraFactors(float[] A, float[] B, int Rank, int Inputs, int Outputs, double Scale);

/// <summary>A LoRA adapter read from a file with the names of the PEFT library: <c>base_model.model.LAYER.lora_A.weight</c> and <c>lora_B.weight</c>, with
/// <c>adapter_config.json</c> beside it. Names of layers are the official ones of VAR. <c>base_model.model.class_emb.weight</c> is a class embedding with new rows.</summary>
public sealed class LoraAdapter
{
    /// <summary>What the PEFT library puts before the name of a layer.</summary>
    public const string Prefix = "base_model.model.";

    /// <summary>Name of an adapter's file in its folder.</summary>
    public const string FileName = "adapter_model.safetensors";

    /// <summary>Name of the class embedding's layer.</summary>
    internal const string ClassModule = "class_emb";

    private LoraAdapter(string path, Dictionary<string, LoraFactors> layers, float[]? classes, int classRows, string[] classNames)
    {
        Path = path;
        Layers = layers;
        Classes = classes;
        ClassRows = classRows;
        ClassNames = classNames;
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>The changed layers by their official names.</summary>
    public IReadOnlyDictionary<string, LoraFactors> Layers { get; }

    /// <summary>Names of the classes that the adapter adds; empty where none are, or where nothing beside the file names them.</summary>
    public IReadOnlyList<string> ClassNames { get; }

    /// <summary>The class embedding (ClassRows, C) with its new rows before the last, which is the unconditional one; null where the adapter has none.</summary>
    internal float[]? Classes { get; }

    /// <summary>Rows of <see cref="Classes"/>.</summary>
    internal int ClassRows { get; }

    /// <summary>Reads an adapter.</summary>
    /// <param name="path">The file, or the folder that holds it under its usual name.</param>
    /// <returns>The adapter; the file is closed again.</returns>
    /// <exception cref="CheckpointException">The file is damaged, holds other tensors, or a pair of factors does not fit together or to its configuration.</exception>
    public static LoraAdapter Open(string path)
    {
        string name = Directory.Exists(path) ? System.IO.Path.Combine(path, FileName) : path;
        using Checkpoint file = Checkpoint.Open(name);
        string configPath = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(name))!, PeftConfig.FileName);
        ConfigFile config = ConfigFile.Load(configPath);
        var layers = new Dictionary<string, LoraFactors>(StringComparer.Ordinal);
        float[]? classes = null;
        int classRows = 0;
        foreach (string tensor in file.Tensors.Keys)
        {
            if (tensor is Prefix + ClassModule + ".weight" or Prefix + ClassModule + ".modules_to_save.weight")
            {
                classRows = file.Root.Size(tensor, 2, 0);
                classes = Values(file, tensor, classRows, file.Root.Size(tensor, 2, 1));
                continue;
            }

            (string module, char factor, string other) = Parse(file, tensor);
            if (factor == 'A')
            {
                int rank = file.Root.Size(tensor, 2, 0), inputs = file.Root.Size(tensor, 2, 1), outputs = file.Root.Size(other, 2, 0);
                layers.Add(module, new LoraFactors(
                    Values(file, tensor, rank, inputs), Values(file, other, outputs, rank), rank, inputs, outputs, PeftConfig.Scale(config, module, rank)));
            }
            else
            {
                file.Root.Info(other); // refuses a factor without its twin
            }
        }

        return layers.Count > 0 || classes is not null
            ? new LoraAdapter(name, layers, classes, classRows, Names(ConfigFile.FindBeside(name)))
            : throw new CheckpointException(name, "", "the file holds no adapter (no tensor NAME.lora_A.weight)");
    }

    // base_model.model.NAME.lora_A.weight, or lora_A.default.weight as it stands in memory of the library.
    private static (string Module, char Factor, string Other) Parse(Checkpoint file, string tensor)
    {
        foreach (string end in (string[])[".weight", ".default.weight"])
        {
            foreach (char factor in "AB")
            {
                string tail = $".lora_{factor}{end}";
                if (tensor.StartsWith(Prefix, StringComparison.Ordinal) && tensor.EndsWith(tail, StringComparison.Ordinal) && tensor.Length > Prefix.Length + tail.Length)
                {
                    return (tensor[Prefix.Length..^tail.Length], factor, $"{tensor[..^tail.Length]}.lora_{(factor == 'A' ? 'B' : 'A')}{end}");
                }
            }
        }

        throw new CheckpointException(file.Path, tensor, $"not part of a LoRA adapter; expected {Prefix}LAYER.lora_A.weight, lora_B.weight or {Prefix}{ClassModule}.weight");
    }

    private static float[] Values(Checkpoint file, string tensor, int rows, int columns)
    {
        using FloatBuffer buffer = file.Root.Get(tensor, rows, columns);
        float[] values = buffer.Span().ToArray();
        return Array.TrueForAll(values, float.IsFinite) ? values : throw new CheckpointException(file.Path, tensor, "a value is not finite");
    }

    private static string[] Names(ConfigFile? beside) =>
        beside is not null && beside.Root.TryGetProperty("new_classes", out JsonElement names) && names.ValueKind == JsonValueKind.Array
            ? [.. names.EnumerateArray().Select(name => name.GetString() ?? "")]
            : [];
}
