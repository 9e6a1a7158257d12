using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // Up to this many outputs (the colours of an image), a vector of outputs would be mostly empty.
    private const int FewOutputs = 4;

    /// <summary>Weights as [dy][part of a row of taps][output][one vector of (dx, input)], filled up with zeros.</summary>
    private PackedConvolution PackFewOutputs(in ConvolutionShape shape, ReadOnlySpan<float> weight, PackedConvolution? reuse)
    {
        int run = shape.Kernel * shape.Inputs;
        int parts = DivideUp(run, TLanes.Count);
        PackedConvolution packed = reuse
            ?? new PackedConvolution(Name, shape, ConvolutionAlgorithm.Direct, (long)shape.Kernel * parts * FewOutputs * TLanes.Count);
        for (int o = 0; o < shape.Outputs; o++)
        {
            for (int dy = 0; dy < shape.Kernel; dy++)
            {
                for (int k = 0; k < run; k++)
                {
                    (int dx, int input) = Math.DivRem(k, shape.Inputs);
                    (int part, int lane) = Math.DivRem(k, TLanes.Count);
                    packed.Weights.Pointer[((dy * parts + part) * FewOutputs + o) * TLanes.Count + lane] =
                        weight[((o * shape.Inputs + input) * shape.Kernel + dy) * shape.Kernel + dx];
                }
            }
        }

        return packed;
    }

    /// <summary>Convolution with the lanes along the taps and inputs, which are contiguous for one dy, instead of the outputs; two
    /// neighbouring pixels share the loads of the weights.</summary>
    private struct FewOutputsBody : IParallelBody
    {
        public FeatureMap X;
        public FeatureMap Y;
        public PackedConvolution Convolution;
        public ConvolutionOptions Options;
        public Blocks Blocks;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Invoke(int task)
        {
            ConvolutionShape shape = Convolution.Shape;
            (int image, int top, int left, _, _) = Blocks[task];
            int rows = Math.Min(Blocks.Height, Y.Height - top);
            int columns = Math.Min(Blocks.Width, Y.Width - left);
            int patchColumns = (columns - 1) * shape.Stride + shape.Kernel;
            using Scratch patch = CopyDirectPatch(X, Options, shape, image, top, left, rows, columns);
            float* sums = stackalloc float[2 * FewOutputs];
            for (int row = 0; row < rows; row++)
            {
                for (int column = 0; column < columns; column += 2)
                {
                    int second = Math.Min(column + 1, columns - 1);
                    float* start = patch.Pointer + (long)row * shape.Stride * patchColumns * shape.Inputs;
                    Multiply(
                        start + (long)column * shape.Stride * shape.Inputs, start + (long)second * shape.Stride * shape.Inputs,
                        (nint)patchColumns * shape.Inputs, sums);
                    for (int pixel = column; pixel <= second; pixel++)
                    {
                        long offset = (((long)image * Y.Height + top + row) * Y.Width + left + pixel) * shape.Outputs;
                        for (int o = 0; o < shape.Outputs; o++)
                        {
                            float value = sums[(pixel - column) * FewOutputs + o] + Convolution.Bias[o];
                            Y.Pointer[offset + o] = Options.Residual.Buffer is null ? value : value + Options.Residual.Pointer[offset + o];
                        }
                    }
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void Multiply(float* x, float* y, nint rowStride, float* sums)
        {
            ConvolutionShape shape = Convolution.Shape;
            int run = shape.Kernel * shape.Inputs;
            int rest = run % TLanes.Count;
            int partLength = FewOutputs * TLanes.Count;
            float* weights = Convolution.Weights.Pointer;
            TVector x0 = TLanes.Zero, x1 = TLanes.Zero, x2 = TLanes.Zero, x3 = TLanes.Zero;
            TVector y0 = TLanes.Zero, y1 = TLanes.Zero, y2 = TLanes.Zero, y3 = TLanes.Zero;
            for (int dy = 0; dy < shape.Kernel; dy++, x += rowStride, y += rowStride, weights += rest > 0 ? partLength : 0)
            {
                for (int k = 0; k <= run - TLanes.Count; k += TLanes.Count, weights += partLength)
                {
                    TVector left = TLanes.Load(x + k);
                    TVector right = TLanes.Load(y + k);
                    TVector w0 = TLanes.Load(weights);
                    TVector w1 = TLanes.Load(weights + TLanes.Count);
                    TVector w2 = TLanes.Load(weights + 2 * TLanes.Count);
                    TVector w3 = TLanes.Load(weights + 3 * TLanes.Count);
                    x0 = TLanes.MultiplyAdd(left, w0, x0);
                    x1 = TLanes.MultiplyAdd(left, w1, x1);
                    x2 = TLanes.MultiplyAdd(left, w2, x2);
                    x3 = TLanes.MultiplyAdd(left, w3, x3);
                    y0 = TLanes.MultiplyAdd(right, w0, y0);
                    y1 = TLanes.MultiplyAdd(right, w1, y1);
                    y2 = TLanes.MultiplyAdd(right, w2, y2);
                    y3 = TLanes.MultiplyAdd(right, w3, y3);
                }
            }

            sums[0] = TLanes.SumOf(x0);
            sums[1] = TLanes.SumOf(x1);
            sums[2] = TLanes.SumOf(x2);
            sums[3] = TLanes.SumOf(x3);
            sums[4] = TLanes.SumOf(y0);
            sums[5] = TLanes.SumOf(y1);
            sums[6] = TLanes.SumOf(y2);
            sums[7] = TLanes.SumOf(y3);
            if (rest > 0)
            {
                AddRest(x - shape.Kernel * rowStride + run - rest, rowStride, sums);
                AddRest(y - shape.Kernel * rowStride + run - rest, rowStride, sums + FewOutputs);
            }
        }

        /// <summary>Adds what is left of each row of taps after the whole vectors.</summary>
        private readonly void AddRest(float* x, nint rowStride, float* sums)
        {
            int run = Convolution.Shape.Kernel * Convolution.Shape.Inputs;
            int parts = DivideUp(run, TLanes.Count);
            for (int dy = 0; dy < Convolution.Shape.Kernel; dy++)
            {
                float* weights = Convolution.Weights.Pointer + (dy * parts + parts - 1) * FewOutputs * TLanes.Count;
                for (int o = 0; o < FewOutputs; o++)
                {
                    for (int k = 0; k < run % TLanes.Count; k++)
                    {
                        sums[o] += x[dy * rowStride + k] * weights[o * TLanes.Count + k];
                    }
                }
            }
        }
    }
}
