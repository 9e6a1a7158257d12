using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Layers;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Models;

public sealed partial record VarConfig
{
    private static readonly ScaleSchedule[] s_released = [ScaleSchedule.Var256, ScaleSchedule.Var512];

    /// <summary>Reads the configuration of a transformer off the shapes of its tensors.</summary>
    /// <param name="view">The state dict of VAR.</param>
    /// <param name="file">What the tensors do not show: heads without l2-norm attention (otherwise taken to be as many as
    /// blocks, as VAR models/__init__.py, build_vae_var, makes them), token maps that are not square, epsilon.</param>
    /// <returns>The configuration.</returns>
    /// <exception cref="CheckpointException">Tensors are missing, or shapes and file contradict each other.</exception>
    public static VarConfig Infer(CheckpointView view, ConfigFile? file = null)
    {
        var config = new ConfigSection(file, "var");
        int depth = config.Confirm("depth", view.CountModules("blocks"));
        int width = config.Confirm("embed_dim", view.Size("word_embed.weight", 2, 0));
        int hiddenWidth = view.Size("blocks.0.ffn.fc1.weight", 2, 0);
        bool l2Norm = config.Confirm("attn_l2_norm", view.Contains("blocks.0.attn.scale_mul_1H11"));
        int heads = l2Norm
            ? config.Confirm("num_heads", view.Size("blocks.0.attn.scale_mul_1H11", 4, 1))
            : config.Integer("num_heads") ?? depth;
        if (heads == 0 || width % heads != 0)
        {
            throw view.Refuse("blocks.0.attn",
                $"width {width} cannot be split into {heads} heads; state num_heads in {file?.Path ?? "a JSON file beside the checkpoint"}");
        }

        float? ropeBase = InferRopeBase(view, config);
        if (ropeBase is not null && width / heads % 4 != 0)
        {
            throw view.Refuse("blocks.0.attn", $"heads of width {width / heads} cannot be rotated by rows and columns; rope_base needs a multiple of 4");
        }

        const float largest = 1 << 20;
        config.Require("mlp_ratio", config.Number("mlp_ratio", largest) is not { } ratio || (int)(width * ratio) == hiddenWidth, (float)hiddenWidth / width);
        return new VarConfig
        {
            Depth = depth,
            Width = width,
            Heads = heads,
            HiddenWidth = hiddenWidth,
            Classes = config.Confirm("num_classes", view.Size("class_emb.weight", 2, 0) - 1),
            Vocabulary = view.Size("head.weight", 2, 0),
            CodeChannels = view.Size("word_embed.weight", 2, 1),
            AttentionL2Norm = l2Norm,
            SharedAdaLn = config.Confirm("shared_aln", view.Contains("shared_ada_lin.1.weight")),
            Scales = InferScales(view, config),
            NormEpsilon = config.Number("norm_eps", 1) ?? 1e-6f,
            RopeBase = ropeBase,
        };
    }

    // Files that train var writes hold the base too, so that a model that lost its JSON file is not run without rotation.
    private static float? InferRopeBase(CheckpointView view, ConfigSection config)
    {
        float? stated = config.Number("rope_base", RotaryEmbedding.MaxBase);
        if (!view.Contains("rope_base"))
        {
            return stated;
        }

        using FloatBuffer stored = view.Get("rope_base", 1);
        float value = stored.Span()[0];
        config.Require("rope_base", stated is null || stated == value, value);
        return value is > 0 and <= RotaryEmbedding.MaxBase ? value : throw view.Refuse("rope_base", $"{value} is no base of a rotation");
    }

    private static ScaleSchedule InferScales(CheckpointView view, ConfigSection config)
    {
        int tokens = view.Size("pos_1LC", 3, 1);
        int[]? counts = view.Contains("lvl_1L") ? CountLevels(view, tokens) : null;
        int levels = counts?.Length ?? view.Size("lvl_embed.weight", 2, 0);
        if (config.Scales("patch_nums") is { } stated)
        {
            bool agrees = stated.Tokens == tokens && stated.Count == levels
                && (counts is null || stated.Sizes.Select(size => size.Tokens).SequenceEqual(counts));
            config.Require("patch_nums", agrees, counts is null ? $"{levels} maps of {tokens} tokens" : $"maps of {string.Join(", ", counts)} tokens");
            return stated;
        }

        if (counts is null)
        {
            return s_released.FirstOrDefault(schedule => schedule.Tokens == tokens && schedule.Count == levels)
                ?? throw view.Refuse("pos_1LC", $"{tokens} tokens in {levels} scales are no released schedule; state patch_nums in a JSON file beside the checkpoint");
        }

        int[] sides = Array.ConvertAll(counts, count => (int)Math.Sqrt(count));
        if (!sides.Zip(counts).All(pair => pair.First * pair.First == pair.Second))
        {
            throw view.Refuse("lvl_1L", $"maps of {string.Join(", ", counts)} tokens are not all square; state patch_nums in a JSON file beside the checkpoint");
        }

        try
        {
            return ScaleSchedule.Square(sides);
        }
        catch (ArgumentException e)
        {
            throw view.Refuse("lvl_1L", e.Message);
        }
    }

    // lvl_1L (1, L): the scale of each token, so 0 … 0 1 … 1 2 ….
    private static int[] CountLevels(CheckpointView view, int tokens)
    {
        if (view.Size("lvl_1L", 2, 1) != tokens)
        {
            throw view.Refuse("lvl_1L", $"{view.Info("lvl_1L").Length} tokens, pos_1LC has {tokens}");
        }

        long[] levels = new long[view.Info("lvl_1L").Length];
        view.Checkpoint.ReadIntegers(view.Prefix + "lvl_1L", levels);
        var counts = new List<int>();
        foreach (long level in levels)
        {
            if (level == counts.Count)
            {
                counts.Add(0);
            }

            if (level < 0 || level != counts.Count - 1)
            {
                throw view.Refuse("lvl_1L", $"scale {level} follows scale {counts.Count - 1}");
            }

            counts[^1]++;
        }

        return [.. counts];
    }
}
