using Subquartic.Models;

namespace Subquartic.Adapters;

/// <summary>What an adapter changes: which layers, of which rank, how strongly, and which classes it adds.</summary>
public sealed record LoraOptions
{
    /// <summary>Everything that <see cref="Targets"/> may name: the projections of attention in parts of <c>mat_qkv</c> (q, k, v) or as one matrix (qkv), its output, the two
    /// layers of the feed-forward network, AdaLN of the blocks, AdaLN before the head, and the head.</summary>
    public static IReadOnlyList<string> AllTargets { get; } = ["q", "k", "v", "qkv", "proj", "fc1", "fc2", "adaln", "head_adaln", "head"];

    /// <summary>Rank of each change, at least 1.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>The change is multiplied by alpha / rank.</summary>
    public double Alpha { get; init; } = 16;

    /// <summary>Some of <see cref="AllTargets"/>; <c>q, v</c> is the partial setting of the LoRA papers, <c>q, k, v</c> the full one.</summary>
    public IReadOnlyList<string> Targets { get; init; } = ["q", "v"];

    /// <summary>Names of classes that the model does not have; each gets a row of the class embedding, which is trained and kept in the adapter.</summary>
    public IReadOnlyList<string> NewClasses { get; init; } = [];

    /// <summary>The layers that the adapter changes in a model.</summary>
    /// <param name="config">Sizes of the model.</param>
    /// <returns>The layers, from the first block to the head.</returns>
    /// <exception cref="ArgumentException">A target is unknown or named twice, none is left, or the rank is not positive or larger than a layer.</exception>
    public IReadOnlyList<LoraLayer> Layers(VarConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        foreach (string target in Targets)
        {
            if (!AllTargets.Contains(target))
            {
                throw new ArgumentException($"there is no target '{target}'; there are {string.Join(", ", AllTargets)}");
            }
        }

        int[] parts = [.. Enumerable.Range(0, LoraLayer.QkvParts).Where(part => Targets.Contains(AllTargets[part]))];
        bool whole = Targets.Contains("qkv");
        if (Targets.Count == 0 || Targets.Distinct().Count() < Targets.Count || (whole && parts.Length > 0))
        {
            throw new ArgumentException($"targets '{string.Join(',', Targets)}' are none, or name a layer twice");
        }

        int width = config.Width;
        var layers = new List<LoraLayer>();
        for (int i = 0; i < config.Depth; i++)
        {
            string block = $"blocks.{i}";
            if (whole || parts.Length > 0)
            {
                layers.Add(Layer($"{block}.attn.mat_qkv", width, 3 * width, parts));
            }

            AddIf("proj", $"{block}.attn.proj", width, width);
            AddIf("fc1", $"{block}.ffn.fc1", width, config.HiddenWidth);
            AddIf("fc2", $"{block}.ffn.fc2", config.HiddenWidth, width);
            if (!config.SharedAdaLn)
            {
                AddIf("adaln", $"{block}.ada_lin.1", width, 6 * width);
            }
        }

        if (config.SharedAdaLn)
        {
            AddIf("adaln", "shared_ada_lin.1", width, 6 * width);
        }

        AddIf("head_adaln", "head_nm.ada_lin.1", width, 2 * width);
        AddIf("head", "head", width, config.Vocabulary);
        return layers;

        void AddIf(string target, string module, int inputs, int outputs)
        {
            if (Targets.Contains(target))
            {
                layers.Add(Layer(module, inputs, outputs, []));
            }
        }
    }

    private LoraLayer Layer(string module, int inputs, int outputs, int[] parts)
    {
        int largest = Math.Min(inputs, outputs / (parts.Length > 0 ? LoraLayer.QkvParts : 1));
        return Rank >= 1 && Rank <= largest
            ? new LoraLayer(module, inputs, outputs, Rank * Math.Max(parts.Length, 1), Alpha / Rank, parts)
            : throw new ArgumentException($"rank {Rank} does not fit {module}, whose rank is at most {largest}");
    }
}
