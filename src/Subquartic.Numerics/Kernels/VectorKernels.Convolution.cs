using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // About half a last-level cache.
    private const long CachedBytes = 16L << 20;

    // Inputs whose weights a task packs.
    private const int InputsPerPackTask = 16;

    public override PackedConvolution PackConvolution(
        in ConvolutionShape shape, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, PackedConvolution? reuse = null)
    {
        Check.ConvolutionWeights(shape, weight, bias, reuse, this);
        int panels = DivideUp(shape.Outputs, GemmPanelWidth);
        long panelLength = (long)shape.Inputs * GemmPanelWidth;
        bool winograd = SuitsWinograd(shape);
        if (!winograd && shape.Outputs <= FewOutputs)
        {
            PackedConvolution few = PackFewOutputs(shape, weight, reuse);
            few.SetBias(bias);
            return few;
        }

        PackedConvolution packed = reuse ?? (winograd
            ? new PackedConvolution(Name, shape, ConvolutionAlgorithm.Winograd, WinogradPoints * panels * panelLength)
            : new PackedConvolution(Name, shape, ConvolutionAlgorithm.Direct, shape.Kernel * shape.Kernel * panels * panelLength));
        packed.SetBias(bias);
        fixed (float* source = weight)
        {
            var body = new PackPanelBody { Weight = source, Packed = packed, Parts = DivideUp(shape.Inputs, InputsPerPackTask) };
            Pool.Run(panels * body.Parts, ref body);
        }

        return packed;
    }

    public override void Convolve(FeatureMap x, PackedConvolution convolution, FeatureMap y, in ConvolutionOptions options = default)
    {
        Check.Convolve(x, convolution, y, options, this);
        if (y.Length == 0)
        {
            return;
        }

        if (convolution.Algorithm == ConvolutionAlgorithm.Winograd)
        {
            ConvolveWinograd(x, convolution, y, options);
        }
        else
        {
            ConvolveDirect(x, convolution, y, options);
        }
    }

    /// <summary>Copies a rectangle of the input as the convolution sees it: up-sampled, normalised, activated, and only then
    /// padded with zeros, so that the kernels behind know no border.</summary>
    /// <param name="x">The input.</param>
    /// <param name="options">What happens to it.</param>
    /// <param name="image">Image of the batch.</param>
    /// <param name="top">First row, after up-sampling; may lie outside.</param>
    /// <param name="left">First column, after up-sampling; may lie outside.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="patch">(rows, columns, pitch).</param>
    /// <param name="pitch">Distance between pixels: the channels, or more, the rest being zeros.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CopyPatch(
        FeatureMap x, in ConvolutionOptions options, int image, int top, int left, int rows, int columns, float* patch, int pitch)
    {
        int channels = x.Channels;
        int shift = options.Upsample ? 1 : 0;
        int first = Math.Clamp(-left, 0, columns);
        int last = Math.Clamp((x.Width << shift) - left, first, columns);
        bool plain = options.Scale.Buffer is null && !options.Silu;
        float* factors = options.Scale.Buffer is null ? null : options.Scale.Pointer + (long)image * options.Scale.Stride;
        float* offsets = options.Scale.Buffer is null ? null : options.Shift.Pointer + (long)image * options.Shift.Stride;
        for (int row = 0; row < rows; row++)
        {
            float* target = patch + (long)row * columns * pitch;
            int y = top + row;
            if (y < 0 || y >= x.Height << shift)
            {
                new Span<float>(target, columns * pitch).Clear();
                continue;
            }

            new Span<float>(target, first * pitch).Clear();
            new Span<float>(target + (long)last * pitch, (columns - last) * pitch).Clear();
            float* source = x.Pointer + ((long)image * x.Height + (y >> shift)) * x.Width * channels;
            if (plain && shift == 0 && pitch == channels)
            {
                new ReadOnlySpan<float>(source + (long)(left + first) * channels, (last - first) * channels)
                    .CopyTo(new Span<float>(target + (long)first * pitch, (last - first) * pitch));
                continue;
            }

            for (int column = first; column < last; column++)
            {
                float* from = source + (long)((left + column) >> shift) * channels;
                float* to = target + (long)column * pitch;
                if (plain)
                {
                    new ReadOnlySpan<float>(from, channels).CopyTo(new Span<float>(to, channels));
                    new Span<float>(to + channels, pitch - channels).Clear();
                }
                else
                {
                    Normalize(from, factors, offsets, options.Silu, to, channels);
                    new Span<float>(to + channels, pitch - channels).Clear();
                }
            }
        }
    }

    /// <summary>y = act(x * factor + offset) for the channels of one pixel; without factors, y = act(x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Normalize(float* x, float* factors, float* offsets, bool silu, float* y, int channels)
    {
        int c = 0;
        for (; c <= channels - TLanes.Count; c += TLanes.Count)
        {
            TVector value = TLanes.Load(x + c);
            if (factors is not null)
            {
                value = TLanes.MultiplyAdd(value, TLanes.Load(factors + c), TLanes.Load(offsets + c));
            }

            TLanes.Store(y + c, silu ? VectorMath<TLanes, TVector>.Silu(value) : value);
        }

        if (c < channels)
        {
            int count = channels - c;
            TVector value = VectorMath<TLanes, TVector>.LoadFirst(x + c, count);
            if (factors is not null)
            {
                value = TLanes.MultiplyAdd(
                    value,
                    VectorMath<TLanes, TVector>.LoadFirst(factors + c, count),
                    VectorMath<TLanes, TVector>.LoadFirst(offsets + c, count));
            }

            VectorMath<TLanes, TVector>.StoreFirst(y + c, silu ? VectorMath<TLanes, TVector>.Silu(value) : value, count);
        }
    }

    /// <summary>C (rows, two vectors) = A B, or C += A B, in register tiles of nearly equal height.</summary>
    /// <param name="a">Element (row, step) lies at row * aStride + step * aStep.</param>
    /// <param name="aStride">Distance between rows of A.</param>
    /// <param name="aStep">Distance between steps of A: 1 where the steps are inputs, more where they are pixels.</param>
    /// <param name="b">Two vectors per step.</param>
    /// <param name="bStep">Distance between steps of B.</param>
    /// <param name="depth">Number of steps.</param>
    /// <param name="c">The sums.</param>
    /// <param name="cStride">Distance between rows of C.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="resume">Whether C holds sums to go on from; otherwise they start at 0.</param>
    private static void MultiplyRows<TPanel>(
        float* a, nint aStride, nint aStep, float* b, nint bStep, int depth, float* c, nint cStride, int rows, bool resume)
        where TPanel : struct, IPanelLayout
    {
        int tiles = DivideUp(rows, TLanes.TileRows);
        for (int tile = 0; tile < tiles; tile++)
        {
            int row = Split(rows, tiles, tile);
            int height = Split(rows, tiles, tile + 1) - row;
            // The first tile brings nearer what follows this part of the weights, most likely the next part.
            float* ahead = tile == 0 ? b + depth * bStep : b;
            MultiplyTile<TPanel>(height, a + row * aStride, aStride, aStep, b, bStep, depth, c + row * cStride, cStride, resume, ahead, GemmPanelWidth);
        }
    }

    /// <summary>y = sums + bias (+ residual) for one panel of outputs of neighbouring pixels.</summary>
    /// <param name="sums">(columns, two vectors).</param>
    /// <param name="convolution">Holds the bias.</param>
    /// <param name="options">Holds the residual.</param>
    /// <param name="y">The output.</param>
    /// <param name="pixel">Index of the first pixel in <paramref name="y"/>.</param>
    /// <param name="columns">Number of pixels.</param>
    /// <param name="firstOutput">First output channel of the panel.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void StoreOutputs(
        float* sums, PackedConvolution convolution, in ConvolutionOptions options, FeatureMap y, long pixel, int columns, int firstOutput)
    {
        int outputs = y.Channels;
        int lanes = Math.Min(GemmPanelWidth, outputs - firstOutput);
        float* bias = convolution.BiasBuffer.Pointer + firstOutput;
        float* target = y.Pointer + pixel * outputs + firstOutput;
        float* residual = options.Residual.Buffer is null ? null : options.Residual.Pointer + pixel * outputs + firstOutput;
        bool pastCaches = PassesCaches(y, options);
        for (int column = 0; column < columns; column++)
        {
            int lane = 0;
            for (; lane <= lanes - TLanes.Count; lane += TLanes.Count)
            {
                TVector value = TLanes.Add(TLanes.Load(sums + lane), TLanes.Load(bias + lane));
                if (pastCaches)
                {
                    TLanes.StoreNonTemporal(target + lane, value);
                }
                else
                {
                    TLanes.Store(target + lane, residual is null ? value : TLanes.Add(value, TLanes.Load(residual + lane)));
                }
            }

            for (; lane < lanes; lane++)
            {
                float value = sums[lane] + bias[lane];
                target[lane] = residual is null ? value : value + residual[lane];
            }

            sums += GemmPanelWidth;
            target += outputs;
            residual = residual is null ? null : residual + outputs;
        }
    }

    /// <summary>Whether an output is stored past the caches: one too large to be still there when the next operation reads it, whose
    /// lines would otherwise be read from memory only to be overwritten. With a residual they are read anyway.</summary>
    private static bool PassesCaches(FeatureMap y, in ConvolutionOptions options) =>
        options.Residual.Buffer is null && y.Length * sizeof(float) >= CachedBytes
        && y.Channels % TLanes.Count == 0 && (nuint)y.Pointer % (nuint)(TLanes.Count * sizeof(float)) == 0;

    /// <summary>Packs some inputs of one panel of outputs; within it the outputs are the fast index, so that whole cache lines are written.</summary>
    private struct PackPanelBody : IParallelBody
    {
        public float* Weight;
        public PackedConvolution Packed;
        public int Parts;

        public readonly void Invoke(int task)
        {
            (int panel, int part) = Math.DivRem(task, Parts);
            int first = part * InputsPerPackTask;
            int end = Math.Min(Packed.Shape.Inputs, first + InputsPerPackTask);
            if (Packed.Algorithm == ConvolutionAlgorithm.Winograd)
            {
                PackWinogradPanel(Packed, Weight, panel, first, end);
            }
            else
            {
                PackDirectPanel(Packed, Weight, panel, first, end);
            }
        }
    }

    /// <summary>How a convolution is cut into tasks: rectangles of the output, times groups of panels of output channels where
    /// the map alone does not keep all threads busy. No output value depends on the cut.</summary>
    private readonly struct Blocks
    {
        public Blocks(int images, int height, int width, int blockHeight, int blockWidth, int panels, int threads)
        {
            Height = blockHeight;
            Width = blockWidth;
            Down = DivideUp(height, blockHeight);
            Across = DivideUp(width, blockWidth);
            PerGroup = images * Down * Across;
            // Two tasks a thread even out what the threads cannot share; more would repeat the preparation of the input too often.
            Groups = Math.Clamp(DivideUp(2 * threads, PerGroup), 1, panels);
            Panels = panels;
        }

        public int Height { get; }

        public int Width { get; }

        public int Tasks => PerGroup * Groups;

        private int Down { get; }

        private int Across { get; }

        private int PerGroup { get; }

        private int Groups { get; }

        private int Panels { get; }

        /// <summary>What a task computes. Groups are the slow index, so that the threads share the weights in the cache.</summary>
        public (int Image, int Top, int Left, int FirstPanel, int EndPanel) this[int task]
        {
            get
            {
                (int group, int block) = Math.DivRem(task, PerGroup);
                (int image, int place) = Math.DivRem(block, Down * Across);
                (int down, int across) = Math.DivRem(place, Across);
                return (image, down * Height, across * Width, group * Panels / Groups, (group + 1) * Panels / Groups);
            }
        }
    }

    /// <summary>The cache lines of a rectangle of a map, asked for while something else is computed: a block is read and written in
    /// bursts, during which a core would wait for the memory.</summary>
    private readonly struct MapLines
    {
        private const int LineLength = 16;

        private readonly float* _start;
        private readonly nint _rowStride;
        private readonly int _linesPerRow;
        private readonly int _lines;

        private MapLines(FeatureMap map, int image, int top, int left, int bottom, int right)
        {
            _start = map.Pointer + (((long)image * map.Height + top) * map.Width + left) * map.Channels;
            _rowStride = (nint)map.Width * map.Channels;
            _linesPerRow = DivideUp((right - left) * map.Channels, LineLength);
            _lines = _linesPerRow * (bottom - top);
        }

        /// <summary>What a task will add to or overwrite.</summary>
        public static MapLines Output(FeatureMap y, in ConvolutionOptions options, in Blocks blocks, int task)
        {
            if (PassesCaches(y, options))
            {
                return default;
            }

            (int image, int top, int left, _, _) = blocks[task];
            return new MapLines(
                options.Residual.Buffer is null ? y : options.Residual, image, top, left,
                Math.Min(y.Height, top + blocks.Height), Math.Min(y.Width, left + blocks.Width));
        }

        /// <summary>What a later task will read, without the border it shares with its neighbours.</summary>
        public static MapLines Input(FeatureMap x, in ConvolutionOptions options, in Blocks blocks, int task)
        {
            if (task >= blocks.Tasks)
            {
                return default;
            }

            (int image, int top, int left, _, _) = blocks[task];
            int shift = options.Upsample ? 1 : 0;
            return new MapLines(
                x, image, top >> shift, left >> shift,
                Math.Min(x.Height, (top + blocks.Height) >> shift), Math.Min(x.Width, (left + blocks.Width) >> shift));
        }

        /// <summary>Asks for one of <paramref name="parts"/> parts of the lines.</summary>
        public void Prefetch(int part, int parts)
        {
            int end = Split(_lines, parts, part + 1);
            for (int line = Split(_lines, parts, part); line < end; line++)
            {
                (int row, int place) = Math.DivRem(line, _linesPerRow);
                TLanes.Prefetch(_start + row * _rowStride + place * LineLength);
            }
        }
    }
}
