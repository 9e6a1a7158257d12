using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Tests.Kernels;

/// <summary>The gradient of attention against the scalar judge (double accumulation); that the judge is the gradient of attention is shown
/// against central differences in Training/Operations/TransformerOperationsTests.</summary>
public class AttentionGradientTests
{
    private const int Images = 2;
    private const int Heads = 3;

    /// <summary>Every set, and (queries, keys, key width, value width): tile and block edges, odd widths, single rows.</summary>
    public static TheoryData<string, int, int, int, int> Shapes
    {
        get
        {
            (int L, int S, int C, int Cv)[] shapes =
            [
                (1, 1, 1, 1), (1, 1, 64, 64), (9, 14, 8, 8), (3, 7, 5, 3), (16, 30, 32, 32), (13, 127, 33, 17), (47, 129, 24, 25), (129, 128, 8, 8),
                (150, 300, 16, 9), (300, 1, 7, 7), (1, 700, 16, 16), (20, 4000, 8, 8),
            ];
            var data = new TheoryData<string, int, int, int, int>();
            foreach (string set in KernelSet.Available.Where(name => name != "scalar"))
            {
                foreach ((int l, int s, int c, int cv) in shapes)
                {
                    data.Add(set, l, s, c, cv);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Error_is_at_most_twice_that_of_a_plain_float32_loop(string set, int queries, int keys, int width, int valueWidth)
    {
        using var problem = new Problem(queries, keys, width, valueWidth);
        float[][] expected = problem.Gradients("scalar", threads: 1);
        float[][] actual = problem.Gradients(set, threads: 2);
        float[][] plain = problem.PlainLoop();
        for (int i = 0; i < 3; i++)
        {
            // One rounding of the result itself is allowed to all.
            double floor = 2e-7 * expected[i].Max(Math.Abs);
            Assert.InRange(Error(actual[i], expected[i]), 0, 2 * Error(plain[i], expected[i]) + floor);
        }
    }

    [Fact]
    public void Bits_do_not_depend_on_the_threads()
    {
        using var problem = new Problem(50, 200, 24, 24);
        foreach (string set in KernelSet.Available)
        {
            Assert.Equal(problem.Gradients(set, threads: 1), problem.Gradients(set, threads: 3));
        }
    }

    [Fact]
    public void Gradients_that_do_not_fit_are_refused()
    {
        using var problem = new Problem(4, 5, 8, 6);
        foreach (string set in KernelSet.Available)
        {
            KernelSet kernels = KernelSet.Create(set, threads: 1);
            using WorkerPool pool = kernels.Pool;
            Assert.Throws<ArgumentException>(() => kernels.AttentionGradient(
                problem.Q, problem.K, problem.V, problem.DOutput, 1, problem.K, problem.K, problem.V));
            Assert.Throws<ArgumentException>(() => kernels.AttentionGradient(
                problem.Q, problem.K, problem.V, problem.V, 1, problem.Q, problem.K, problem.V));
        }
    }

    private static double Error(float[] actual, float[] expected)
    {
        Assert.DoesNotContain(actual, float.IsNaN);
        return actual.Zip(expected, (a, b) => Math.Abs((double)a - b)).Max();
    }

    /// <summary>Random operands, with heads interleaved as training has them.</summary>
    private sealed class Problem(int queries, int keys, int width, int valueWidth) : IDisposable
    {
        private const float Scale = 0.7f;

        private readonly List<FloatBuffer> _buffers = [];
        private HeadTensor _q;

        public HeadTensor Q => _q.Buffer is null ? _q = Random(queries, width, 1) : _q;

        public HeadTensor K => field.Buffer is null ? field = Random(keys, width, 2) : field;

        public HeadTensor V => field.Buffer is null ? field = Random(keys, valueWidth, 3) : field;

        public HeadTensor DOutput => field.Buffer is null ? field = Random(queries, valueWidth, 4) : field;

        public float[][] Gradients(string set, int threads)
        {
            KernelSet kernels = KernelSet.Create(set, threads);
            using WorkerPool pool = kernels.Pool;
            HeadTensor dQ = Random(queries, width, 5);
            HeadTensor dK = Random(keys, width, 6);
            HeadTensor dV = Random(keys, valueWidth, 7);
            kernels.AttentionGradient(Q, K, V, DOutput, Scale, dQ, dK, dV);
            return [dQ.Buffer.Span().ToArray(), dK.Buffer.Span().ToArray(), dV.Buffer.Span().ToArray()];
        }

        /// <summary>What anybody would write first, in float32 throughout.</summary>
        public float[][] PlainLoop()
        {
            HeadTensor dQ = Random(queries, width, 5);
            HeadTensor dK = Random(keys, width, 6);
            HeadTensor dV = Random(keys, valueWidth, 7);
            var p = new float[keys];
            var slope = new float[keys];
            for (int b = 0; b < Images; b++)
            {
                for (int h = 0; h < Heads; h++)
                {
                    for (int i = 0; i < queries; i++)
                    {
                        float sum = 0;
                        float inner = 0;
                        for (int j = 0; j < keys; j++)
                        {
                            p[j] = Scale * Dot(Q[b, h].Row(i), K[b, h].Row(j));
                            slope[j] = Dot(DOutput[b, h].Row(i), V[b, h].Row(j));
                        }

                        float max = p.Max();
                        for (int j = 0; j < keys; j++)
                        {
                            p[j] = MathF.Exp(p[j] - max);
                            sum += p[j];
                        }

                        for (int j = 0; j < keys; j++)
                        {
                            p[j] /= sum;
                            inner += p[j] * slope[j];
                        }

                        for (int j = 0; j < keys; j++)
                        {
                            float dS = Scale * p[j] * (slope[j] - inner);
                            AddMultiple(dQ[b, h].Row(i), dS, K[b, h].Row(j));
                            AddMultiple(dK[b, h].Row(j), dS, Q[b, h].Row(i));
                            AddMultiple(dV[b, h].Row(j), p[j], DOutput[b, h].Row(i));
                        }
                    }
                }
            }

            return [dQ.Buffer.Span().ToArray(), dK.Buffer.Span().ToArray(), dV.Buffer.Span().ToArray()];
        }

        public void Dispose() => _buffers.ForEach(buffer => buffer.Dispose());

        private static float Dot(Span<float> a, Span<float> b)
        {
            float sum = 0;
            for (int c = 0; c < a.Length; c++)
            {
                sum += a[c] * b[c];
            }

            return sum;
        }

        private static void AddMultiple(Span<float> target, float factor, Span<float> x)
        {
            for (int c = 0; c < x.Length; c++)
            {
                target[c] += factor * x[c];
            }
        }

        private HeadTensor Random(int rows, int columns, int seed)
        {
            var buffer = new FloatBuffer(Images * rows * Heads * columns);
            _buffers.Add(buffer);
            var random = new Random(seed);
            foreach (ref float value in buffer.Span())
            {
                value = (float)(random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5);
            }

            return HeadTensor.Interleaved(buffer.Matrix(Images * rows, Heads * columns), Images, Heads);
        }
    }
}
