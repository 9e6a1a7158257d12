using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // Values of both maps that meet all taps of a row of the kernel before the next ones come: an eighth of the second-level cache.
    private const int GradientBand = 1 << 15;

    public override void ConvolveWeightGradient(FeatureMap x, FeatureMap dy, in ConvolutionShape shape, bool upsample, Matrix dWeight)
    {
        Check.ConvolveWeightGradient(x, dy, shape, upsample, dWeight);
        if (dy.Length == 0)
        {
            return;
        }

        if (SuitsWinogradGradient(shape, dy))
        {
            WinogradWeightGradient(x, dy, shape, upsample, dWeight);
            GC.KeepAlive(x.Buffer);
            GC.KeepAlive(dy.Buffer);
            GC.KeepAlive(dWeight.Buffer);
            return;
        }

        // The lanes run along the inputs, unless only the outputs fill all of them.
        bool swapped = shape.Inputs % GemmPanelWidth != 0 && shape.Outputs % GemmPanelWidth == 0;
        int rows = swapped ? shape.Inputs : shape.Outputs;
        int columns = DivideUp(swapped ? shape.Outputs : shape.Inputs, GemmPanelWidth) * GemmPanelWidth;
        using Scratch sums = Scratch.Rent((long)x.Batch * shape.Kernel * shape.Kernel * rows * columns);
        var products = new TapProductsBody
        {
            X = x,
            Gradient = dy,
            Shape = shape,
            Up = upsample ? 2 : 1,
            Swapped = swapped,
            Rows = rows,
            Columns = columns,
            Sums = sums.Pointer,
        };
        Pool.Run(x.Batch * shape.Kernel, ref products);
        var total = new TapTotalsBody { Products = products, Result = dWeight };
        Pool.Run(rows, ref total);
        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(dy.Buffer);
        GC.KeepAlive(dWeight.Buffer);
    }

    /// <summary>The sums of one image for one row of taps, [tap][row][column] with rows the outputs and columns the inputs, or, when
    /// swapped, the reverse. A tap pairs each run of output pixels with a run of input pixels: their channels are the operands of a
    /// matrix product over the pixels, read where they lie. Pixels outside the map shorten the runs.</summary>
    private struct TapProductsBody : IParallelBody
    {
        public FeatureMap X;
        public FeatureMap Gradient;
        public ConvolutionShape Shape;
        public int Up;
        public bool Swapped;
        public int Rows;
        public int Columns;
        public float* Sums;

        public readonly void Invoke(int task)
        {
            (int image, int tapRow) = Math.DivRem(task, Shape.Kernel);
            FeatureMap x = X.Image(image);
            FeatureMap dy = Gradient.Image(image);
            int tapLength = Rows * Columns;
            float* sums = Sums + (long)task * Shape.Kernel * tapLength;
            new Span<float>(sums, Shape.Kernel * tapLength).Clear();
            using Scratch rest = CopyRest(Swapped ? dy : x);
            int lines = Math.Max(1, GradientBand / (dy.Width * (Shape.Inputs + Shape.Outputs)));
            for (int top = 0; top < dy.Height; top += lines)
            {
                for (int tap = 0; tap < Shape.Kernel; tap++)
                {
                    for (int phase = 0; phase < Up; phase++)
                    {
                        AddBand(x, dy, rest.Pointer, tapRow, tap, phase, top, Math.Min(dy.Height, top + lines), sums + tap * tapLength);
                    }
                }
            }
        }

        /// <summary>Adds the products of one tap in some rows of the output. With repeated pixels, neighbours in the output share a
        /// pixel of the input: the even and the odd columns, the phases, form runs of their own.</summary>
        private readonly void AddBand(
            FeatureMap x, FeatureMap dy, float* rest, int tapRow, int tapColumn, int phase, int top, int bottom, float* sums)
        {
            int padding = Shape.Kernel == 3 && Shape.Stride == 1 ? 1 : 0;

            // Step k of a run: column Up * k + phase of the output, Stride * k + left of the input.
            int left = (Shape.Stride * phase + tapColumn - padding) >> (Up - 1);
            int first = left < 0 ? 1 : 0;
            int count = Math.Min(DivideUp(dy.Width - phase, Up), DivideUp(x.Width - left, Shape.Stride)) - first;
            if (count <= 0)
            {
                return;
            }

            // Whole rows follow each other without a gap: they form one run.
            bool whole = Shape.Stride == 1 && Up == 1 && count == dy.Width;
            for (int row = top; row < bottom; row++)
            {
                int line = row * Shape.Stride + tapRow - padding;
                if (line < 0 || line >= x.Height * Up)
                {
                    continue;
                }

                int lines = whole ? Math.Min(bottom - row, x.Height - line) : 1;
                long source = (long)(line / Up) * x.Width + left + Shape.Stride * first;
                long target = (long)row * dy.Width + phase + Up * first;
                if (Swapped)
                {
                    AddProducts(x.Pointer + source * Rows, Shape.Stride, dy.Pointer, rest, target, Up, lines * count, sums);
                }
                else
                {
                    AddProducts(dy.Pointer + target * Rows, Up, x.Pointer, rest, source, Shape.Stride, lines * count, sums);
                }

                row += lines - 1;
            }
        }

        /// <summary>sums (rows, columns) += A^T B over the pixels of a run.</summary>
        private readonly void AddProducts(
            float* a, int aStep, float* b, float* rest, long bPixel, int bStep, int count, float* sums)
        {
            int channels = Swapped ? Shape.Outputs : Shape.Inputs;
            for (int column = 0; column < Columns; column += GemmPanelWidth)
            {
                bool cut = column + GemmPanelWidth > channels;
                float* panel = cut ? rest + bPixel * GemmPanelWidth : b + bPixel * channels + column;
                MultiplyRows<MapPanel>(
                    a, 1, aStep * Rows, panel, bStep * (cut ? GemmPanelWidth : channels), count, sums + column, Columns, Rows, resume: true);
            }
        }

        /// <summary>The channels of the lanes' map that do not fill a panel, followed by zeros.</summary>
        private static Scratch CopyRest(FeatureMap map)
        {
            int count = map.Channels % GemmPanelWidth;
            int pixels = count == 0 ? 0 : map.Height * map.Width;
            Scratch rest = Scratch.Rent((long)pixels * GemmPanelWidth);
            for (int pixel = 0; pixel < pixels; pixel++)
            {
                var target = new Span<float>(rest.Pointer + (long)pixel * GemmPanelWidth, GemmPanelWidth);
                new ReadOnlySpan<float>(map.Pointer + (long)(pixel + 1) * map.Channels - count, count).CopyTo(target);
                target[count..].Clear();
            }

            return rest;
        }
    }

    /// <summary>Adds the sums of the images, in their order, to one row of the result.</summary>
    private struct TapTotalsBody : IParallelBody
    {
        public TapProductsBody Products;
        public Matrix Result;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Invoke(int task)
        {
            ConvolutionShape shape = Products.Shape;
            int taps = shape.Kernel * shape.Kernel;
            int channels = Products.Swapped ? shape.Outputs : shape.Inputs;
            nint step = Products.Swapped ? Result.Stride : taps;
            float* result = Result.Pointer + (long)task * (Products.Swapped ? taps : Result.Stride);
            long tapLength = (long)Products.Rows * Products.Columns;
            for (int tap = 0; tap < taps; tap++)
            {
                for (int column = 0; column < channels; column += TLanes.Count)
                {
                    float* part = Products.Sums + tap * tapLength + (long)task * Products.Columns + column;
                    TVector sum = TLanes.Load(part);
                    for (int image = 1; image < Products.X.Batch; image++)
                    {
                        part += taps * tapLength;
                        sum = TLanes.Add(sum, TLanes.Load(part));
                    }

                    float* lanes = (float*)&sum;
                    int count = Math.Min(TLanes.Count, channels - column);
                    for (int i = 0; i < count; i++)
                    {
                        result[(column + i) * step + tap] += lanes[i];
                    }
                }
            }
        }
    }
}
