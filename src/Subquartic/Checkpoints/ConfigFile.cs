using System.Globalization;
using System.Text.Json;
using Subquartic.Generation;

namespace Subquartic.Checkpoints;

/// <summary>A JSON file beside a checkpoint that states what its tensors do not show, or confirms what they do.</summary>
/// <remarks>
/// <para>Fields, all optional, named as the arguments of the reference's constructors (VAR models/var.py, models/vqvae.py):
/// <c>patch_nums</c> (sides, or [height, width] pairs), <c>num_heads</c>, <c>norm_eps</c>, <c>using_znorm</c> and
/// <c>quant_resi</c> decide, and so does <c>rope_base</c>, which the reference does not know (rotary embedding, off where it is missing); <c>depth</c>, <c>embed_dim</c>, <c>num_classes</c>, <c>mlp_ratio</c>, <c>attn_l2_norm</c>,
/// <c>shared_aln</c>, <c>vocab_size</c>, <c>z_channels</c>, <c>ch</c>, <c>ch_mult</c>, <c>num_res_blocks</c>, <c>in_channels</c>,
/// <c>quant_conv_ks</c> and <c>share_quant_resi</c> must agree with the tensors.</para>
/// <para>They may stand at the top, or inside an object "var" or "vae", which then goes first. Other fields are ignored: files
/// called config.json carry much else.</para>
/// </remarks>
public sealed class ConfigFile
{
    private const long MaxLength = 1 << 20;

    private ConfigFile(string path, JsonElement root)
    {
        Path = path;
        Root = root;
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Its outermost object.</summary>
    internal JsonElement Root { get; }

    /// <summary>What the model's author wants to be said, or null: one line.</summary>
    /// <exception cref="CheckpointException">It is not text, longer than a line, or holds control characters.</exception>
    public string? Note
    {
        get
        {
            if (!Root.TryGetProperty("note", out JsonElement value))
            {
                return null;
            }

            // Control characters could reprogram the terminal it is shown on.
            return value.ValueKind == JsonValueKind.String && value.GetString() is { Length: <= 400 } text && !text.Any(char.IsControl)
                ? text
                : throw new CheckpointException(Path, "note", "expected one line of at most 400 characters");
        }
    }

    /// <summary>Names of the classes in the order of their labels (<c>class_names</c>), or null.</summary>
    /// <exception cref="CheckpointException">They are not 1 to 100 000 different lines of at most 100 characters.</exception>
    public IReadOnlyList<string>? ClassNames
    {
        get
        {
            if (!Root.TryGetProperty("class_names", out JsonElement value))
            {
                return null;
            }

            string[] names = value.ValueKind == JsonValueKind.Array && value.GetArrayLength() is >= 1 and <= 100_000
                ? [.. value.EnumerateArray().Select(name => name.ValueKind == JsonValueKind.String ? name.GetString()! : "")]
                : [];
            return names.Length > 0 && names.All(name => name.Length is >= 1 and <= 100 && !name.Any(char.IsControl)) && names.Distinct().Count() == names.Length
                ? names
                : throw new CheckpointException(Path, "class_names", "expected 1 to 100000 different names of 1 to 100 characters, without control characters");
        }
    }

    /// <summary>How the model's author recommends to draw (<c>recommended_sampling</c>, an object with any of <c>guidance</c>, <c>top_k</c>, <c>top_p</c>,
    /// <c>temperature</c> and <c>passes</c>, of which all but <c>top_k</c> and <c>top_p</c> may be arrays of a number for each scale); what is not stated is the reference's.</summary>
    /// <exception cref="CheckpointException">It is no such object, or a value is out of its range.</exception>
    public SamplingDefaults Sampling
    {
        get
        {
            if (!Root.TryGetProperty("recommended_sampling", out JsonElement stated))
            {
                return SamplingDefaults.Reference;
            }

            string[] names = ["guidance", "top_k", "top_p", "temperature", "passes"];
            if (stated.ValueKind != JsonValueKind.Object || stated.EnumerateObject().Any(entry => !names.Contains(entry.Name)))
            {
                throw new CheckpointException(Path, "recommended_sampling", $"expected an object with any of {string.Join(", ", names)}");
            }

            SamplingDefaults reference = SamplingDefaults.Reference;
            float topK = Value("top_k", reference.TopK, value => value is >= 0 and <= 1 << 20 && value == (int)value, "a whole number from 0");
            return new SamplingDefaults
            {
                Guidance = Values("guidance", reference.Guidance, value => Math.Abs(value) <= 1000, "a number from -1000 to 1000"),
                TopK = (int)topK,
                TopP = Value("top_p", reference.TopP, value => value is >= 0 and <= 1, "a number from 0 to 1"),
                Temperature = Values("temperature", reference.Temperature, value => value is > 0 and <= 1000, "a number above 0, at most 1000"),
                Passes = Values(
                    "passes", reference.Passes, value => value is >= 1 and <= SamplingOptions.MaxPasses && value == (int)value, $"a whole number from 1 to {SamplingOptions.MaxPasses}"),
            };

            float Value(string name, float otherwise, Func<float, bool> rule, string words) =>
                stated.TryGetProperty(name, out JsonElement value) ? Number(name, value, rule, words) : otherwise;

            ScaleValues Values(string name, ScaleValues otherwise, Func<float, bool> rule, string words) =>
                !stated.TryGetProperty(name, out JsonElement value) ? otherwise
                : value.ValueKind == JsonValueKind.Array && value.GetArrayLength() is >= 1 and <= 1024
                    ? new ScaleValues([.. value.EnumerateArray().Select(one => Number(name, one, rule, words))])
                : Number(name, value, rule, words);

            float Number(string name, JsonElement value, Func<float, bool> rule, string words) =>
                value.ValueKind == JsonValueKind.Number && value.TryGetSingle(out float number) && rule(number) ? number
                : throw new CheckpointException(Path, $"recommended_sampling.{name}", $"{value.GetRawText()}, expected {words}");
        }
    }

    /// <summary>The token maps a VQ-VAE was trained with (<c>patch_nums</c>), or null: its tensors do not show them.</summary>
    /// <exception cref="CheckpointException">They are no schedule.</exception>
    public ScaleSchedule? VqVaeScales => new ConfigSection(this, "vae").Scales("patch_nums");

    /// <summary>Loads the JSON that belongs to a checkpoint: NAME.json for NAME.pth, otherwise config.json in its folder.</summary>
    /// <param name="checkpointPath">The checkpoint.</param>
    /// <returns>The file, or null where there is none.</returns>
    /// <exception cref="CheckpointException">The file cannot be read or is not a JSON object.</exception>
    public static ConfigFile? FindBeside(string checkpointPath)
    {
        string own = System.IO.Path.ChangeExtension(checkpointPath, ".json");
        string common = System.IO.Path.Combine(System.IO.Path.GetDirectoryName(checkpointPath) ?? "", "config.json");
        return File.Exists(own) ? Load(own) : File.Exists(common) ? Load(common) : null;
    }

    /// <summary>Loads a JSON file.</summary>
    /// <param name="path">The file, at most 1 MB.</param>
    /// <returns>The file.</returns>
    /// <exception cref="CheckpointException">The file cannot be read or is not a JSON object.</exception>
    public static ConfigFile Load(string path)
    {
        try
        {
            using FileStream stream = File.OpenRead(path);
            if (stream.Length > MaxLength)
            {
                throw new CheckpointException(path, "", $"{stream.Length} bytes, at most {MaxLength} are read");
            }

            using var document = JsonDocument.Parse(stream, new JsonDocumentOptions { AllowDuplicateProperties = false });
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new ConfigFile(path, document.RootElement.Clone())
                : throw new CheckpointException(path, "", "not a JSON object");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new CheckpointException(path, "", $"cannot be read: {e.Message}", e);
        }
    }
}

/// <summary>The fields of a <see cref="ConfigFile"/> that concern one model, beside what the tensors of that model show.</summary>
/// <param name="file">The file, if any.</param>
/// <param name="model">"var" or "vae".</param>
internal readonly struct ConfigSection(ConfigFile? file, string model)
{
    /// <summary>A whole number from 0 the tensors do not show.</summary>
    /// <param name="field">Its name.</param>
    /// <returns>Its value, or null where the file does not state it.</returns>
    public int? Integer(string field) => Find(field) is { } value
        ? value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= 0 ? number : throw Refuse(field, value, "a whole number from 0")
        : null;

    /// <summary>A number the tensors do not show.</summary>
    /// <param name="field">Its name.</param>
    /// <param name="maximum">Largest value; values must be above 0.</param>
    /// <returns>Its value, or null where the file does not state it.</returns>
    public float? Number(string field, float maximum) => Find(field) is { } value
        ? value.ValueKind == JsonValueKind.Number && value.TryGetSingle(out float number) && number > 0 && number <= maximum
            ? number
            : throw Refuse(field, value, string.Create(CultureInfo.InvariantCulture, $"a number above 0, at most {maximum}"))
        : null;

    /// <summary>A switch the tensors do not show.</summary>
    /// <param name="field">Its name.</param>
    /// <returns>Its value, or null where the file does not state it.</returns>
    public bool? Switch(string field) => Find(field) is { } value
        ? value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : throw Refuse(field, value, "true or false")
        : null;

    /// <summary>The token maps.</summary>
    /// <param name="field">Name of the field.</param>
    /// <returns>The schedule, or null where the file does not state it.</returns>
    public ScaleSchedule? Scales(string field)
    {
        if (Find(field) is not { } value)
        {
            return null;
        }

        try
        {
            return value.ValueKind == JsonValueKind.Array
                ? new ScaleSchedule([.. value.EnumerateArray().Select(ParseSize)])
                : throw new ArgumentException("not an array");
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException or FormatException)
        {
            throw Refuse(field, value, "sides or [height, width] pairs, none larger than the last");
        }

        static TokenMapSize ParseSize(JsonElement size) => size.ValueKind != JsonValueKind.Array ? new(size.GetInt32(), size.GetInt32())
            : size.GetArrayLength() == 2 ? new(size[0].GetInt32(), size[1].GetInt32())
            : throw new FormatException();
    }

    /// <summary>Returns what the tensors show, unless the file states something else.</summary>
    /// <param name="field">Name of the field.</param>
    /// <param name="inferred">What the tensors show.</param>
    /// <returns><paramref name="inferred"/>.</returns>
    /// <exception cref="CheckpointException">The file contradicts the tensors.</exception>
    public int Confirm(string field, int inferred)
    {
        Require(field, Integer(field) is not { } stated || stated == inferred, inferred);
        return inferred;
    }

    /// <inheritdoc cref="Confirm(string, int)"/>
    public bool Confirm(string field, bool inferred)
    {
        Require(field, Switch(field) is not { } stated || stated == inferred, inferred ? "true" : "false");
        return inferred;
    }

    /// <inheritdoc cref="Confirm(string, int)"/>
    public int[] Confirm(string field, int[] inferred)
    {
        bool agrees = Find(field) is not { } value
            || (value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == inferred.Length
                && value.EnumerateArray().Zip(inferred).All(pair =>
                    pair.First.ValueKind == JsonValueKind.Number && pair.First.TryGetInt32(out int stated) && stated == pair.Second));
        Require(field, agrees, $"[{string.Join(", ", inferred)}]");
        return inferred;
    }

    /// <summary>Refuses a value that contradicts the tensors.</summary>
    /// <param name="field">Name of the field.</param>
    /// <param name="condition">Whether it agrees, or is not stated.</param>
    /// <param name="inferred">What the tensors show.</param>
    /// <exception cref="CheckpointException">It does not agree.</exception>
    public void Require(string field, bool condition, object inferred)
    {
        if (!condition)
        {
            throw Refuse(field, Find(field)!.Value, $"{inferred}, as the tensors show");
        }
    }

    private JsonElement? Find(string field)
    {
        if (file is null)
        {
            return null;
        }

        return file.Root.TryGetProperty(model, out JsonElement inner) && inner.ValueKind == JsonValueKind.Object
            && inner.TryGetProperty(field, out JsonElement value) ? value
            : file.Root.TryGetProperty(field, out value) ? value
            : null;
    }

    private CheckpointException Refuse(string field, JsonElement value, string expected) =>
        new(file!.Path, field, $"{value.GetRawText()}, expected {expected}");
}
