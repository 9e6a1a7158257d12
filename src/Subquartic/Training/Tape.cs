using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;
using Subquartic.Training.Operations;

namespace Subquartic.Training;

/// <summary>A value computed on a tape, with room for the gradient of the loss with respect to it. Rows are tokens or pixels.</summary>
public sealed class Variable
{
    private readonly Tape _tape;
    private Matrix _gradient;

    internal Variable(Tape tape, Matrix value, bool needsGradient, int batch, int height, int width)
    {
        _tape = tape;
        Value = value;
        NeedsGradient = needsGradient;
        Batch = batch;
        Height = height;
        Width = width;
    }

    /// <summary>The value (rows, columns), contiguous.</summary>
    public Matrix Value { get; }

    /// <summary>Whether anything trainable lies before it; if not, backward passes skip it.</summary>
    public bool NeedsGradient { get; }

    /// <summary>Images of a feature map, 0 for other values.</summary>
    public int Batch { get; }

    /// <summary>Rows of a feature map, 0 for other values.</summary>
    public int Height { get; }

    /// <summary>Columns of a feature map, 0 for other values.</summary>
    public int Width { get; }

    /// <summary>The gradient (rows, columns), zero before anything was added. Backward passes add to it, never overwrite.</summary>
    public Matrix Gradient
    {
        get
        {
            if (_gradient.Buffer is null)
            {
                _gradient = _tape.Take(Value.Rows, Value.Columns);
                _tape.Clear(_gradient);
            }

            return _gradient;
        }
    }

    /// <summary>Whether a gradient has reached this value.</summary>
    public bool HasGradient => _gradient.Buffer is not null;

    /// <summary>The gradient, for a backward pass that reaches every entry of it.</summary>
    /// <param name="add">Whether something is there to add to; if not, the memory holds anything and is to be overwritten.</param>
    /// <returns>(rows, columns).</returns>
    internal Matrix GradientTarget(out bool add)
    {
        add = HasGradient;
        return add ? _gradient : _gradient = _tape.Take(Value.Rows, Value.Columns);
    }

    /// <summary>Takes over the memory of another gradient of the same shape, which nobody reads afterwards.</summary>
    /// <param name="gradient">The gradient.</param>
    /// <returns>False when there is something to add to already.</returns>
    internal bool Adopt(Matrix gradient)
    {
        if (HasGradient)
        {
            return false;
        }

        _gradient = gradient;
        return true;
    }

    /// <summary>The value as a feature map.</summary>
    public FeatureMap Map => new(Value.Buffer, Value.Offset, Batch, Height, Width, Value.Columns);

    /// <summary>The gradient as a feature map.</summary>
    public FeatureMap GradientMap => AsMap(Gradient);

    /// <summary>A matrix of the shape of the value as a feature map.</summary>
    internal FeatureMap AsMap(Matrix matrix) => new(matrix.Buffer, matrix.Offset, Batch, Height, Width, Value.Columns);
}

/// <summary>Reverse-mode differentiation: operations compute forward at once and leave behind what computes their gradient; <see cref="Backward"/>
/// runs that in reverse. The operations are the extension methods in Training/Operations, each with its two passes side by side.</summary>
/// <remarks>Memory comes from blocks that <see cref="Reset"/> hands out again, so that a training step of known shape allocates no native memory.
/// Results do not depend on the number of threads.</remarks>
public sealed class Tape : IDisposable
{
    private const long BlockLength = 4L << 20;

    private readonly List<FloatBuffer> _blocks = [];
    private readonly List<Action> _backward = [];
    private readonly Dictionary<(Parameter Weight, bool Flipped), (int Version, PackedConvolution Pack)> _convolutions = [];
    private int _block;
    private long _used;

    /// <summary>Creates an empty tape.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="recording">False for evaluation: nothing is kept for a backward pass.</param>
    public Tape(KernelSet kernels, bool recording = true)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        Kernels = kernels;
        Recording = recording;
    }

    /// <summary>The kernels that compute.</summary>
    public KernelSet Kernels { get; }

    /// <summary>Whether backward passes are kept.</summary>
    public bool Recording { get; }

    /// <summary>Memory of the current step; not cleared.</summary>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Number of columns.</param>
    /// <returns>A contiguous matrix, valid until <see cref="Reset"/>.</returns>
    public Matrix Take(int rows, int columns)
    {
        // Every matrix starts on a cache line.
        long length = ((long)rows * columns + 15) / 16 * 16;
        while (_block < _blocks.Count && _used + length > _blocks[_block].Length)
        {
            _block++;
            _used = 0;
        }

        if (_block == _blocks.Count)
        {
            _blocks.Add(new FloatBuffer(Math.Max(BlockLength, length)));
        }

        Matrix matrix = _blocks[_block].Matrix(rows, columns, _used);
        _used += length;
        return matrix;
    }

    /// <summary>Sets memory of this step to zero, on all threads.</summary>
    internal void Clear(Matrix matrix)
    {
        const int block = 1 << 16;
        int length = matrix.Rows * matrix.Columns;
        Kernels.Pool.For((length + block - 1) / block, task => matrix.Buffer.Span(matrix.Offset + (long)task * block, Math.Min(block, length - task * block)).Clear());
    }

    /// <summary>A new value of an operation, to be filled by it.</summary>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="needsGradient">Whether an operand of the operation is trainable or depends on something trainable.</param>
    /// <returns>The value, not cleared.</returns>
    public Variable New(int rows, int columns, bool needsGradient) => new(this, Take(rows, columns), needsGradient && Recording, 0, 0, 0);

    /// <summary>A new feature map of an operation, to be filled by it.</summary>
    /// <param name="batch">Images.</param>
    /// <param name="height">Rows of an image.</param>
    /// <param name="width">Columns of an image.</param>
    /// <param name="channels">Values of a pixel.</param>
    /// <param name="needsGradient">Whether an operand of the operation is trainable or depends on something trainable.</param>
    /// <returns>The map, not cleared.</returns>
    public Variable NewMap(int batch, int height, int width, int channels, bool needsGradient) =>
        new(this, Take(checked(batch * height * width), channels), needsGradient && Recording, batch, height, width);

    /// <summary>A copy of feature maps as a constant.</summary>
    /// <param name="maps">The maps.</param>
    /// <returns>The map.</returns>
    public Variable Constant(FeatureMap maps)
    {
        Variable constant = NewMap(maps.Batch, maps.Height, maps.Width, maps.Channels, needsGradient: false);
        maps.Span().CopyTo(constant.Value.Span());
        return constant;
    }

    /// <summary>Keeps the backward pass of an operation. It reads the gradient of the operation's value and adds to those of its operands.</summary>
    /// <param name="value">The operation's value; nothing is kept when it needs no gradient.</param>
    /// <param name="backward">The backward pass; skipped when no gradient has reached <paramref name="value"/>.</param>
    public void Record(Variable value, Action backward)
    {
        ArgumentNullException.ThrowIfNull(value);
        if (value.NeedsGradient)
        {
            _backward.Add(() =>
            {
                if (value.HasGradient)
                {
                    backward();
                }
            });
        }
    }

    /// <summary>Runs all backward passes, last to first, after the caller has set the gradient of the last value. Forgets them.</summary>
    public void Backward()
    {
        for (int i = _backward.Count - 1; i >= 0; i--)
        {
            _backward[i]();
        }

        _backward.Clear();
    }

    /// <summary>Ends a step: values and gradients become invalid, their memory is used again.</summary>
    public void Reset()
    {
        _backward.Clear();
        _block = 0;
        _used = 0;
    }

    /// <summary>The weights of a convolution, packed; packed again only after they changed.</summary>
    /// <param name="weight">(outputs, inputs, k, k).</param>
    /// <param name="bias">(outputs), or null; ignored when <paramref name="flipped"/>.</param>
    /// <param name="shape">Sizes of the convolution.</param>
    /// <param name="flipped">Whether to pack the convolution that carries gradients back: inputs and outputs swapped, the kernel turned by half a turn.</param>
    internal PackedConvolution Packed(Parameter weight, Parameter? bias, in ConvolutionShape shape, bool flipped)
    {
        int version = weight.Version + (bias?.Version ?? 0);
        PackedConvolution? reuse = null;
        if (_convolutions.TryGetValue((weight, flipped), out (int Version, PackedConvolution Pack) entry))
        {
            if (entry.Version == version)
            {
                return entry.Pack;
            }

            // A weight may meet maps of several sizes, which choose how it is packed.
            reuse = entry.Pack.Shape == shape ? entry.Pack : null;
            if (reuse is null)
            {
                entry.Pack.Dispose();
            }
        }

        PackedConvolution pack;
        if (flipped)
        {
            using Scratch scratch = Scratch.Rent(weight.Value.Length);
            FloatBuffer turned = scratch.Buffer;
            int length = (int)weight.Value.Length;
            (int inputs, int outputs, int taps) = (shape.Inputs, shape.Outputs, shape.Kernel * shape.Kernel);
            Kernels.Pool.For(outputs, i =>
            {
                Span<float> target = turned.Span((long)i * inputs * taps, inputs * taps);
                for (int o = 0; o < inputs; o++)
                {
                    Span<float> kernel = target.Slice(o * taps, taps);
                    weight.Value.Span((o * outputs + i) * taps, taps).CopyTo(kernel);
                    kernel.Reverse();
                }
            });
            pack = Kernels.PackConvolution(shape, turned.Span(0, length), [], reuse);
        }
        else
        {
            pack = Kernels.PackConvolution(shape, weight.Value.Span(), bias is null ? [] : bias.Value.Span(), reuse);
        }

        _convolutions[(weight, flipped)] = (version, pack);
        return pack;
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        _blocks.ForEach(block => block.Dispose());
        foreach ((_, PackedConvolution pack) in _convolutions.Values)
        {
            pack.Dispose();
        }
    }
}
