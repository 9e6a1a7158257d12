using System.Numerics.Tensors;
using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Layers;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Models;

/// <summary>The state of a generation, scale by scale: cached keys and values, the condition's modulation of every block, and working
/// memory. All of it is reserved at the start; steps allocate nothing. Begin again for the next images.</summary>
public sealed class VarRun : IDisposable
{
    private readonly VarModel _model;
    private readonly IAttentionSequence[] _attention;
    private readonly KvCache _cache;
    private readonly VarWorkspace _workspace;
    private readonly FloatBuffer _logits;
    private readonly FloatBuffer _condition;
    private readonly FloatBuffer _modulations;
    private readonly int _tokensPerPass;
    private readonly int[] _labels;

    internal VarRun(VarModel model, IAttention attention, int rows, int tokensPerPass)
    {
        ArgumentNullException.ThrowIfNull(attention);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        VarConfig config = model.Config;
        _model = model;
        _attention = [.. Enumerable.Range(0, config.Depth).Select(_ => attention.CreateSequence())];
        _tokensPerPass = tokensPerPass;
        _labels = new int[rows];
        _cache = new KvCache(config, rows);
        _workspace = new VarWorkspace(config, checked(rows * tokensPerPass));
        _logits = new FloatBuffer((long)rows * config.Scales.Sizes.Max(size => size.Tokens) * config.Vocabulary);

        // The class embedding and the shared layer's output: read while the modulations are made.
        _condition = new FloatBuffer(7L * rows * config.Width);
        _modulations = new FloatBuffer((6L * config.Depth + 2) * rows * config.Width);
    }

    /// <summary>Largest batch: images, twice as many when guided.</summary>
    public int Capacity => _labels.Length;

    /// <summary>Images of the batch, without the unconditional twins.</summary>
    public int Images { get; private set; }

    /// <summary>Rows of the batch: first the images, then, when guided, their unconditional twins.</summary>
    public int Rows { get; private set; }

    /// <summary>The scale that the next step computes.</summary>
    public int Scale { get; private set; }

    /// <summary>Memory that a run takes for each row of its batch: cached keys and values, activations and logits.</summary>
    /// <param name="config">Sizes of the transformer.</param>
    /// <returns>Bytes.</returns>
    public static long BytesPerRow(VarConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        long largest = config.Scales.Sizes.Max(size => size.Tokens);
        long cached = 2L * config.Depth * config.Scales.Tokens * config.Width;
        long active = largest * (2L * config.Width + Math.Max(3 * config.Width, config.HiddenWidth) + config.Vocabulary);
        return sizeof(float) * (cached + active);
    }

    /// <summary>Starts new images. The modulation of every block depends on the class only, so it is computed here, once.</summary>
    /// <param name="labels">The classes; <see cref="VarConfig.Classes"/> is the unconditional one.</param>
    /// <param name="guided">Whether every image gets an unconditional twin.</param>
    /// <exception cref="ArgumentException">There is no such class, or the batch is empty or larger than <see cref="Capacity"/>.</exception>
    public void Begin(ReadOnlySpan<int> labels, bool guided)
    {
        int rows = guided ? 2 * labels.Length : labels.Length;
        if (labels.IsEmpty || rows > Capacity)
        {
            throw new ArgumentException($"A batch of {labels.Length} images needs {rows} rows; there are {Capacity}.", nameof(labels));
        }

        int classes = _model.Config.Classes;
        foreach (int label in labels)
        {
            if ((uint)label > (uint)classes)
            {
                throw new ArgumentException($"There is no class {label}; classes are 0 to {classes - 1}, and {classes} for none.", nameof(labels));
            }
        }

        foreach (IAttentionSequence sequence in _attention)
        {
            sequence.Clear();
        }

        Images = labels.Length;
        Rows = rows;
        Scale = 0;
        labels.CopyTo(_labels);
        _labels.AsSpan(Images, rows - Images).Fill(classes);
        Condition();
    }

    /// <summary>Computes the logits of the next scale.</summary>
    /// <param name="input">(Images * tokens, CodeChannels): the running feature map brought to the size of this scale, image after
    /// image. Ignored at the first scale, where the class embedding stands instead.</param>
    /// <param name="cancellation">Takes effect between blocks; the run must then begin again.</param>
    /// <returns>(Rows * tokens, V), valid until the next step.</returns>
    /// <exception cref="ArgumentException">The input has another shape.</exception>
    /// <exception cref="InvalidOperationException">All scales are done, or the run has not begun.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public Matrix Step(Matrix input, CancellationToken cancellation = default)
    {
        if (Rows == 0 || Scale == _model.Config.Scales.Count)
        {
            throw new InvalidOperationException(Rows == 0 ? "The run has not begun." : "All scales of this run are done.");
        }

        Matrix logits = _logits.Matrix(Rows * _model.Config.Scales[Scale].Tokens, _model.Config.Vocabulary);
        Pass(Scale + 1, input, logits, cancellation);
        return logits;
    }

    /// <summary>Computes the logits of the scale just done again, with some of its tokens known: another pass over the same map. The cache then holds the keys
    /// and values of this pass.</summary>
    /// <param name="input">As in <see cref="Step"/>, with the code vector of each known token added at its place.</param>
    /// <param name="known">For each token of the scale whether it is known; known ones carry the level embedding of their scale twice, as in
    /// <see cref="Training.VarTrainer"/>.</param>
    /// <param name="cancellation">Takes effect between blocks; the run must then begin again.</param>
    /// <returns>(Rows * tokens, V), valid until the next step; those of known tokens mean nothing.</returns>
    /// <exception cref="ArgumentException">The input or the number of tokens is another.</exception>
    /// <exception cref="InvalidOperationException">No scale but the first is done.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public Matrix StepAgain(Matrix input, ReadOnlySpan<bool> known, CancellationToken cancellation = default)
    {
        if (Scale < 2)
        {
            throw new InvalidOperationException("The first scale takes no input that could hold a known token.");
        }

        TokenMapSize size = _model.Config.Scales[Scale - 1];
        if (known.Length != size.Tokens)
        {
            throw new ArgumentException($"There are marks for {known.Length} tokens; scale {Scale - 1} has {size.Tokens}.", nameof(known));
        }

        // Keys that sequences have seen change.
        foreach (IAttentionSequence sequence in _attention)
        {
            sequence.Clear();
        }

        Scale--;
        Matrix logits = _logits.Matrix(Rows * size.Tokens, _model.Config.Vocabulary);
        Pass(Scale + 1, input, logits, cancellation, known);
        return logits;
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        foreach (IAttentionSequence sequence in _attention)
        {
            sequence.Dispose();
        }

        _cache.Dispose();
        _workspace.Dispose();
        _logits.Dispose();
        _condition.Dispose();
        _modulations.Dispose();
    }

    /// <summary>Computes the logits of the scales from <see cref="Scale"/> up to <paramref name="end"/>.</summary>
    internal void Pass(int end, Matrix input, Matrix logits, CancellationToken cancellation, ReadOnlySpan<bool> known = default)
    {
        var range = new ScaleRange(Rows, _model.Config.Scales, Scale, end);
        if (range.Tokens > _tokensPerPass)
        {
            throw new ArgumentException($"A pass over {range.Tokens} tokens does not fit into the {_tokensPerPass} reserved.", nameof(end));
        }

        Matrix x = Embed(range, input);
        for (int i = 0; i < range.Rows && !known.IsEmpty; i++)
        {
            if (known[i % range.Tokens])
            {
                TensorPrimitives.Add(x.Row(i), _model.Level(range.First), x.Row(i));
            }
        }

        for (int i = 0; i < _model.Blocks.Count; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            _model.Blocks[i].Forward(x, range, Modulation(i), _cache[i, Rows], _attention[i], _workspace);
        }

        cancellation.ThrowIfCancellationRequested();
        _model.Head.Forward(HeadInput(x, range), logits);
        Scale = end;
    }

    /// <summary>Input of the first block: the class embedding in the first scale, embedded features in the others, and positions.</summary>
    internal Matrix Embed(in ScaleRange range, Matrix input)
    {
        int first = range.First == 0 ? range.Scales[0].Tokens : 0;
        int others = range.Tokens - first;
        if (others > 0 && (input.Rows != Images * others || input.Columns != _model.Config.CodeChannels))
        {
            throw new ArgumentException(
                $"The input is {input.Rows} x {input.Columns}; {Images} images of {others} tokens need {Images * others} x {_model.Config.CodeChannels}.",
                nameof(input));
        }

        Matrix x = _workspace.Tokens(range.Rows);
        for (int row = 0; row < Rows; row++)
        {
            Matrix tokens = x.SliceRows(row * range.Tokens, range.Tokens);
            for (int token = 0; token < first; token++)
            {
                Span<float> sum = tokens.Row(token);
                TensorPrimitives.Add(_model.ClassEmbedding(_labels[row]), _model.StartEmbedding(token), sum);
                TensorPrimitives.Add(sum, _model.Positions(token, 1).Row(0), sum);
            }

            if (others > 0)
            {
                _model.WordEmbedding.Forward(
                    input.SliceRows(row % Images * others, others),
                    tokens.SliceRows(first, others),
                    new() { Residual = _model.Positions(range.Start + first, others) });
            }
        }

        return x;
    }

    /// <summary>Input of the head: the last block's output, normalised and modulated (VAR models/basic_var.py, AdaLNBeforeHead).</summary>
    internal Matrix HeadInput(Matrix x, in ScaleRange range)
    {
        int width = _model.Config.Width;
        Matrix modulation = HeadModulation();
        Matrix normed = _workspace.Normed(range.Rows);
        _model.Kernels.LayerNormModulate(
            x, modulation.SliceColumns(0, width), modulation.SliceColumns(width, width), range.Tokens, _model.Config.NormEpsilon, normed);
        return normed;
    }

    /// <summary>The condition's modulation of one block.</summary>
    internal Modulation Modulation(int block)
    {
        int columns = 6 * _model.Config.Width;
        return new Modulation(_modulations.Matrix(Rows, columns, (long)block * Rows * columns));
    }

    private Matrix HeadModulation()
    {
        VarConfig config = _model.Config;
        return _modulations.Matrix(Rows, 2 * config.Width, 6L * config.Depth * Rows * config.Width);
    }

    private void Condition()
    {
        int width = _model.Config.Width;
        Matrix condition = _condition.Matrix(Rows, width);
        for (int row = 0; row < Rows; row++)
        {
            _model.Kernels.Silu(_model.ClassEmbedding(_labels[row]), condition.Row(row));
        }

        Matrix shared = _condition.Matrix(Rows, 6 * width, (long)Rows * width);
        _model.SharedCondition(condition, shared);
        for (int i = 0; i < _model.Blocks.Count; i++)
        {
            _model.Blocks[i].AdaLn.Condition(condition, shared, Modulation(i).Values);
        }

        _model.HeadAdaLn.Forward(condition, HeadModulation());
    }
}
