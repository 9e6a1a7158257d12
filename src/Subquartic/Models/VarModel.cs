using System.Numerics.Tensors;
using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Layers;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Models;

/// <summary>The VAR transformer: predicts the tokens of one scale, all at once, from the class and the tokens of all coarser scales
/// (Tian et al. 2024; VAR models/var.py). Holds weights only; what changes during a generation lives in a <see cref="VarRun"/>.</summary>
public sealed class VarModel : IDisposable
{
    private readonly FloatBuffer _classes;
    private readonly FloatBuffer _start;
    private readonly FloatBuffer _positions;
    private readonly FloatBuffer _levels;
    private readonly Linear? _sharedAdaLn;

    private VarModel(CheckpointView view, VarConfig config, KernelSet kernels)
    {
        Config = config;
        Kernels = kernels;
        WordEmbedding = new Linear(view.In("word_embed"), config.CodeChannels, config.Width, kernels);
        _classes = view.Get("class_emb.weight", config.Classes + 1, config.Width);
        _start = view.Get("pos_start", 1, config.Scales[0].Tokens, config.Width);
        _levels = view.Get("lvl_embed.weight", config.Scales.Count, config.Width);
        _positions = LoadPositions(view, config, _levels);
        _sharedAdaLn = config.SharedAdaLn
            ? new Linear(view.In("shared_ada_lin").In(1), config.Width, 6 * config.Width, kernels)
            : null;
        Rotary = RotaryEmbedding.For(config);
        var blocks = new TransformerBlock[config.Depth];
        for (int i = 0; i < blocks.Length; i++)
        {
            blocks[i] = new TransformerBlock(view.In("blocks").In(i), config, kernels, Rotary);
        }

        Blocks = blocks;
        HeadAdaLn = new Linear(view.In("head_nm").In("ada_lin").In(1), config.Width, 2 * config.Width, kernels);
        Head = new Linear(view.In("head"), config.Width, config.Vocabulary, kernels);
    }

    /// <summary>Sizes and switches.</summary>
    public VarConfig Config { get; }

    /// <summary>The kernels the weights are packed for.</summary>
    public KernelSet Kernels { get; }

    internal Linear WordEmbedding { get; }

    /// <summary>Rotation of queries and keys, or null.</summary>
    internal RotaryEmbedding? Rotary { get; }

    internal IReadOnlyList<TransformerBlock> Blocks { get; }

    internal Linear HeadAdaLn { get; }

    internal Linear Head { get; }

    /// <summary>Reads a transformer. The weights are packed one tensor at a time, so the peak is their size and one tensor more.</summary>
    /// <param name="view">The state dict, with the official names.</param>
    /// <param name="config">Sizes and switches.</param>
    /// <param name="kernels">The kernels that will run it.</param>
    /// <returns>The model; the caller disposes it.</returns>
    /// <exception cref="CheckpointException">A tensor is missing or has another shape than the configuration says.</exception>
    /// <exception cref="ArgumentException">The configuration contradicts itself.</exception>
    public static VarModel Load(CheckpointView view, VarConfig config, KernelSet kernels)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(kernels);
        if (config.Depth < 1 || config.Width < 1 || config.Heads < 1 || config.Width % config.Heads != 0)
        {
            throw new ArgumentException(
                $"A transformer of depth {config.Depth}, width {config.Width} and {config.Heads} heads does not exist; the heads divide the width.",
                nameof(config));
        }

        return new VarModel(view, config, kernels);
    }

    /// <summary>Prepares the state of generations.</summary>
    /// <param name="attention">How attention is computed.</param>
    /// <param name="rows">Rows of the largest batch: images, twice as many when guided.</param>
    /// <returns>A run; the caller disposes it.</returns>
    public VarRun CreateRun(IAttention attention, int rows) =>
        new(this, attention, rows, Config.Scales.Sizes.Max(size => size.Tokens));

    /// <summary>All scales at once from given tokens (teacher forcing; VAR models/var.py, VAR.forward): token i sees the tokens of
    /// its own and of coarser scales.</summary>
    /// <param name="labels">B classes; <see cref="VarConfig.Classes"/> is the unconditional one.</param>
    /// <param name="input">(B * (L - first), CodeChannels): for every scale but the first, the running feature map of the
    /// scales before it, brought to its size; image after image.</param>
    /// <param name="attention">How attention is computed.</param>
    /// <param name="logits">(B * L, V), output.</param>
    /// <param name="cancellation">Takes effect between blocks.</param>
    /// <exception cref="ArgumentException">A shape does not fit or there is no such class.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public void Forward(
        ReadOnlySpan<int> labels, Matrix input, IAttention attention, Matrix logits, CancellationToken cancellation = default)
    {
        using var run = new VarRun(this, attention, labels.Length, Config.Scales.Tokens);
        run.Begin(labels, guided: false);
        run.Pass(Config.Scales.Count, input, logits, cancellation);
    }

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        WordEmbedding.Dispose();
        _classes.Dispose();
        _start.Dispose();
        _positions.Dispose();
        _levels.Dispose();
        _sharedAdaLn?.Dispose();
        foreach (TransformerBlock block in Blocks)
        {
            block.Dispose();
        }

        HeadAdaLn.Dispose();
        Head.Dispose();
    }

    /// <summary>Embedding of a class (C).</summary>
    internal ReadOnlySpan<float> ClassEmbedding(int label) => _classes.Span((long)label * Config.Width, Config.Width);

    /// <summary>What is added to the class embedding in a token of the first scale (C), besides its position.</summary>
    internal ReadOnlySpan<float> StartEmbedding(int token) => _start.Span((long)token * Config.Width, Config.Width);

    /// <summary>Position plus level embeddings of tokens (count, C).</summary>
    internal Matrix Positions(int start, int count) => _positions.Matrix(count, Config.Width, (long)start * Config.Width);

    /// <summary>Level embedding of a scale (C).</summary>
    internal ReadOnlySpan<float> Level(int scale) => _levels.Span((long)scale * Config.Width, Config.Width);

    /// <summary>The output of the linear layer that all blocks share (B, 6C); nothing where there is none.</summary>
    internal void SharedCondition(Matrix condition, Matrix result) => _sharedAdaLn?.Forward(condition, result);

    private static FloatBuffer LoadPositions(CheckpointView view, VarConfig config, FloatBuffer levels)
    {
        ScaleSchedule scales = config.Scales;
        int width = config.Width;
        FloatBuffer positions = view.Get("pos_1LC", 1, scales.Tokens, width);
        for (int scale = 0; scale < scales.Count; scale++)
        {
            ReadOnlySpan<float> level = levels.Span((long)scale * width, width);
            for (int token = scales.Start(scale); token < scales.Start(scale + 1); token++)
            {
                Span<float> position = positions.Span((long)token * width, width);
                TensorPrimitives.Add(position, level, position);
            }
        }

        return positions;
    }
}
