using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

/// <summary>Exact attention, blocked over keys with a running maximum (online softmax; Milakov and Gimelshein 2018, Dao et al.
/// 2022) and transposed: the lanes of a vector are queries. S^T = K Q^T and O^T = V^T P^T are then the same product of
/// broadcast keys or values with vectors of queries or weights, maxima and sums stay within a lane, and keys and values need
/// no packing.</summary>
/// <remarks>
/// <para>Keys are taken in blocks of <see cref="KeyBlock"/> from key 0 on. The output of a block is summed from zero in
/// registers and then added to the running output, O = O * 2^(m - m') + block: rounding grows with the length and the number
/// of blocks instead of the number of keys.</para>
/// <para>Every step of a query touches its own lane only, hence its bits depend neither on the lane nor on the neighbours.</para>
/// </remarks>
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    // The scores of a group, 24 KB at 512 bits, stay in the first-level cache.
    private const int KeyBlock = AttentionKeyBlock;

    /// <summary>Most vectors of queries in a group: with three, a tile of 8 x 3 reads 11 values for 24 multiply-adds.</summary>
    private const int MaxGroupVectors = 3;

    /// <summary>Most groups in a task: together they read the keys and values once from the outer caches.</summary>
    private const int MaxTaskGroups = 4;

    /// <summary>Packed queries and outputs of a task, in values, stay below half of a 1 MB second-level cache.</summary>
    private const int MaxTaskState = 128 * 1024;

    /// <summary>Tasks per thread, at least, where there are queries enough: bounds the wait for the last one.</summary>
    private const int MinTasksPerThread = 4;

    public override void Attention(
        HeadTensor queries, HeadTensor keys, HeadTensor values, float scale, HeadTensor output, HeadTensor statistics)
    {
        Check.Attention(queries, keys, values, output, statistics);
        int heads = queries.Batch * queries.Heads;
        if (heads == 0 || queries.Rows == 0)
        {
            return;
        }

        int vectors = DivideUp(queries.Rows, TLanes.Count);
        int groups = DivideUp(vectors, MaxGroupVectors);
        int groupLength = QueryGroup.LengthOf(queries.Width, WholeTiles(values.Width));
        int taskGroups = Math.Clamp(MaxTaskState / groupLength, 1, MaxTaskGroups);
        int parts = Math.Max(
            DivideUp(groups, taskGroups),
            Math.Min(groups, DivideUp(MinTasksPerThread * Pool.Threads, heads)));
        var body = new AttentionBody(queries, keys, values, scale, output, statistics, vectors, groups, parts);
        Pool.Run(heads * parts, ref body);
    }

    /// <summary>Rounds a number of keys or of value columns up to whole tiles.</summary>
    private static int WholeTiles(int count) => DivideUp(count, AttentionTileRows) * AttentionTileRows;

    /// <summary>Copies rows of keys or values, extended to whole tiles: zeros behind the columns, which outputs nobody reads
    /// come from, and behind the last row that row again, which leaves the maximum as it is.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void CopyBlock(Matrix source, int start, int count, float* copy, int copyRows, int copyColumns)
    {
        int columns = source.Columns;
        for (int i = 0; i < copyRows; i++, copy += copyColumns)
        {
            float* row = source.Pointer + (nint)(start + Math.Min(i, count - 1)) * source.Stride;
            int c = 0;
            for (; c + TLanes.Count <= columns; c += TLanes.Count)
            {
                TLanes.Store(copy + c, TLanes.Load(row + c));
            }

            for (; c + 4 <= columns; c += 4)
            {
                Vector128.Load(row + c).Store(copy + c);
            }

            for (; c < copyColumns; c++)
            {
                copy[c] = c < columns ? row[c] : 0;
            }
        }
    }

    /// <summary>Attention of some groups of queries of one head: task = (image * heads + head) * parts + part.</summary>
    private readonly struct AttentionBody(
        HeadTensor queries, HeadTensor keys, HeadTensor values, float scale, HeadTensor output, HeadTensor statistics, int vectors, int groups, int parts)
        : IParallelBody
    {
        public void Invoke(int task)
        {
            (int head, int part) = Math.DivRem(task, parts);
            (int image, head) = Math.DivRem(head, queries.Heads);
            Matrix q = queries[image, head];
            Matrix k = keys[image, head];
            Matrix v = values[image, head];
            Matrix o = output[image, head];
            Matrix mz = statistics.Buffer is null ? default : statistics[image, head];
            int first = Split(groups, parts, part);
            int end = Split(groups, parts, part + 1);
            int valueColumns = WholeTiles(v.Columns);
            int groupLength = QueryGroup.LengthOf(q.Columns, valueColumns);
            int lanes = MaxGroupVectors * TLanes.Count;

            using var scratch = Scratch.Rent(
                (long)(end - first) * groupLength + (KeyBlock + 2) * lanes + (long)KeyBlock * (q.Columns + valueColumns));
            float* states = scratch.Pointer;
            float* scores = states + (end - first) * groupLength;
            float* valueCopy = scores + (KeyBlock + 2) * lanes;
            float* keyCopy = valueCopy + KeyBlock * valueColumns;
            for (int g = first; g < end; g++)
            {
                Group(g, states + (g - first) * groupLength, valueColumns).Begin(q, scale);
            }

            for (int start = 0; start < k.Rows; start += KeyBlock)
            {
                int count = Math.Min(KeyBlock, k.Rows - start);
                var block = new KeyValueBlock
                {
                    Count = count,
                    Keys = k.Pointer + (long)start * k.Stride,
                    KeyStride = k.Stride,
                    Values = v.Pointer + (long)start * v.Stride,
                    ValueStride = v.Stride,
                    Scores = scores,
                };

                // A tile reads whole tiles of keys and columns. Rows far apart are copied because they share few cache sets.
                if (count % AttentionTileRows != 0 || k.Stride != k.Columns)
                {
                    CopyBlock(k, start, count, keyCopy, WholeTiles(count), k.Columns);
                    block.Keys = keyCopy;
                    block.KeyStride = k.Columns;
                }

                if (v.Stride != valueColumns)
                {
                    CopyBlock(v, start, count, valueCopy, count, valueColumns);
                    block.Values = valueCopy;
                    block.ValueStride = valueColumns;
                }

                for (int g = first; g < end; g++)
                {
                    QueryGroup group = Group(g, states + (g - first) * groupLength, valueColumns);
                    switch (group.Vectors)
                    {
                        case 1: AttendBlock<One>(group, block); break;
                        case 2: AttendBlock<Two>(group, block); break;
                        default: AttendBlock<Three>(group, block); break;
                    }
                }
            }

            for (int g = first; g < end; g++)
            {
                Group(g, states + (g - first) * groupLength, valueColumns).End(o, mz);
            }
        }

        private QueryGroup Group(int group, float* state, int valueColumns)
        {
            int start = Split(vectors, groups, group);
            return new QueryGroup(state, start * TLanes.Count, Split(vectors, groups, group + 1) - start, queries.Width, valueColumns);
        }
    }

    /// <summary>Up to three vectors of queries and what is known of their outputs.</summary>
    /// <param name="state">Memory of <see cref="LengthOf"/> values.</param>
    /// <param name="first">Index of the first query.</param>
    /// <param name="vectors">Number of vectors.</param>
    /// <param name="width">Head width c.</param>
    /// <param name="valueColumns">Value width c_v, rounded up to whole tiles.</param>
    private readonly struct QueryGroup(float* state, int first, int vectors, int width, int valueColumns)
    {
        public int Vectors => vectors;

        public int Width => width;

        public int ValueColumns => valueColumns;

        /// <summary>Largest score so far, (lanes).</summary>
        public float* Maximum => state;

        /// <summary>Sum of the weights so far, (lanes).</summary>
        public float* Sum => state + Lanes;

        /// <summary>Queries times scale * log2(e), (c, lanes): exp becomes a power of two.</summary>
        public float* Queries => state + 2 * Lanes;

        /// <summary>Weighted sum of the values so far, (c_v, lanes).</summary>
        public float* Output => state + (2 + width) * Lanes;

        private int Lanes => vectors * TLanes.Count;

        public static int LengthOf(int width, int valueColumns) => MaxGroupVectors * TLanes.Count * (2 + width + valueColumns);

        /// <summary>Packs the queries; lanes behind the last query repeat it.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Begin(Matrix queries, float scale)
        {
            new Span<float>(Maximum, Lanes).Fill(float.NegativeInfinity);
            new Span<float>(Sum, Lanes).Clear();
            new Span<float>(Output, Lanes * valueColumns).Clear();
            Vector128<float> factor = Vector128.Create(scale * Log2E);
            float* rows = queries.Pointer;
            for (int lane = 0; lane < Lanes; lane += 4)
            {
                // Four rows at once become four columns: a store of four lanes costs as much as one of a single lane.
                float* row0 = rows + (long)Math.Min(first + lane, queries.Rows - 1) * queries.Stride;
                float* row1 = rows + (long)Math.Min(first + lane + 1, queries.Rows - 1) * queries.Stride;
                float* row2 = rows + (long)Math.Min(first + lane + 2, queries.Rows - 1) * queries.Stride;
                float* row3 = rows + (long)Math.Min(first + lane + 3, queries.Rows - 1) * queries.Stride;
                float* target = Queries + lane;
                for (int c = 0; c < width; c++, target += Lanes)
                {
                    (Vector128.Create(row0[c], row1[c], row2[c], row3[c]) * factor).Store(target);
                }
            }
        }

        /// <summary>Writes the outputs, divided by the sums of the weights, and the statistics where they are asked for.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void End(Matrix output, Matrix statistics)
        {
            int stride = Lanes;
            for (int lane = 0; lane < stride && first + lane < output.Rows; lane++)
            {
                float* source = Output + lane;
                float inverse = 1 / Sum[lane];
                float* row = output.Pointer + (long)(first + lane) * output.Stride;
                int c = 0;
                for (; c + 4 <= output.Columns; c += 4, source += 4 * stride)
                {
                    Vector128<float> four = Vector128.Create(source[0], source[stride], source[2 * stride], source[3 * stride]);
                    (four * Vector128.Create(inverse)).Store(row + c);
                }

                for (; c < output.Columns; c++, source += stride)
                {
                    row[c] = *source * inverse;
                }

                if (statistics.Rows > 0)
                {
                    float* pair = statistics.Pointer + (long)(first + lane) * statistics.Stride;
                    (pair[0], pair[1]) = (Maximum[lane], Sum[lane]);
                }
            }
        }
    }
}
