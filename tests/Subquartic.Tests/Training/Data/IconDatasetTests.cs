using System.Security.Cryptography;
using Subquartic.Training.Data;

namespace Subquartic.Tests.Training.Data;

public sealed class IconDatasetTests
{
    private const int Classes = 16;

    // What a seed trained on must stay what it was: models, their cards and quality figures refer to these very pictures. A
    // change of this value is a change of the data set, and needs models trained anew. Sizes that are and are not a multiple of
    // the vector width, and both splits.
    [Fact]
    public void The_pictures_are_the_same_on_every_machine_and_for_ever()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((IconSplit split, int size, int count) in new[] { (IconSplit.Training, 64, 64), (IconSplit.HeldOut, 64, 32), (IconSplit.Training, 101, 16) })
        {
            var icons = new IconDataset(split, size: size);
            for (int i = 0; i < count; i++)
            {
                hash.AppendData(Read(icons, i));
            }
        }

        Assert.Equal("9613D9AFA6B871890B67C341D039873C2F5DD0130D2BFC56FD1DA2F343B103F3", Convert.ToHexString(hash.GetHashAndReset()));
    }

    [Fact]
    public void Rockets_are_a_class_of_their_own()
    {
        IconDataset rockets = IconDataset.Rockets(IconSplit.Training, 50), later = IconDataset.Rockets(IconSplit.Training, 10, first: 40);
        Assert.Equal(("rocket", 50L), (Assert.Single(rockets.Classes), rockets.Count));
        Assert.DoesNotContain("rocket", new IconDataset(IconSplit.Training).Classes);
        Assert.Equal(Read(rockets, 43), Read(later, 3));
        Assert.Equal(50, Enumerable.Range(0, 50).Select(i => Convert.ToHexString(Read(rockets, i))).Distinct().Count());
        Assert.NotEqual(Read(rockets, 0), Read(IconDataset.Rockets(IconSplit.HeldOut, 1), 0));
    }

    [Fact]
    public void A_picture_does_not_depend_on_threads_or_on_what_was_read_before()
    {
        var icons = new IconDataset(IconSplit.Training);
        byte[][] alone = [.. Enumerable.Range(0, 96).Select(i => Read(icons, i))];
        byte[][] together = new byte[alone.Length][];
        Parallel.For(0, alone.Length, i => together[alone.Length - 1 - i] = Read(icons, alone.Length - 1 - i));
        Assert.Equal(alone, together);
    }

    [Fact]
    public void Labels_go_round_the_classes()
    {
        var icons = new IconDataset(IconSplit.Training, perClass: 3);
        Assert.Equal(3 * Classes, icons.Count);
        Assert.Equal(Classes, icons.Classes.Count);
        Assert.Equal(icons.Classes.Order(StringComparer.Ordinal), icons.Classes); // so that a folder of them has the same labels
        byte[] rgb = new byte[64 * 64 * 3];
        Assert.Equal(Enumerable.Range(0, 3 * Classes).Select(i => i % Classes), Enumerable.Range(0, 3 * Classes).Select(i => icons.Read(i, rgb)));
    }

    [Fact]
    public void First_moves_along_the_split()
    {
        var all = new IconDataset(IconSplit.Training, perClass: 10);
        var later = new IconDataset(IconSplit.Training, perClass: 4, first: 6);
        Assert.Equal(Read(all, (6 * Classes) + 5), Read(later, 5));
    }

    [Fact]
    public void Every_picture_is_another_one_in_both_splits()
    {
        var seen = new HashSet<string>();
        foreach (IconSplit split in Enum.GetValues<IconSplit>())
        {
            var icons = new IconDataset(split, perClass: 60, size: 16);
            for (int i = 0; i < icons.Count; i++)
            {
                Assert.True(seen.Add(Convert.ToHexString(Read(icons, i))), $"{split} {i} was there before");
            }
        }
    }

    [Fact]
    public void Training_cannot_reach_the_held_out_pictures()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new IconDataset(IconSplit.Training, perClass: IconDataset.MaxPerClass + 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new IconDataset(IconSplit.Training, perClass: 2, first: IconDataset.MaxPerClass - 1));
        var last = new IconDataset(IconSplit.Training, perClass: 1, first: IconDataset.MaxPerClass - 1, size: 16);
        Assert.NotEqual(Read(last, 0), Read(new IconDataset(IconSplit.HeldOut, size: 16), 0));
    }

    [Fact]
    public void Within_a_class_colours_places_and_sizes_vary()
    {
        var icons = new IconDataset(IconSplit.Training, perClass: 100, size: 16);
        for (int label = 0; label < Classes; label++)
        {
            byte[][] pictures = [.. Enumerable.Range(0, 100).Select(i => Read(icons, (i * Classes) + label))];

            // A background corner takes most of the range in each channel, and the middle, where the thing is, moves as well.
            foreach (int pixel in new[] { 0, 15, (8 * 16) + 8, (5 * 16) + 5 })
            {
                double[] deviations = [.. Enumerable.Range(0, 3).Select(c => Deviation(pictures.Select(p => (double)p[(pixel * 3) + c])))];
                Assert.True(deviations.Max() > 12, $"{icons.Classes[label]}: pixel {pixel} deviates by {deviations.Max():0.0} levels only");
            }
        }
    }

    [Fact]
    public void Nothing_is_blank_and_the_mean_pictures_of_classes_differ()
    {
        var icons = new IconDataset(IconSplit.Training, perClass: 60, size: 32);
        var means = new double[Classes][];
        for (int label = 0; label < Classes; label++)
        {
            means[label] = new double[32 * 32];
            for (int i = 0; i < 60; i++)
            {
                double[] grey = Grey(Read(icons, (i * Classes) + label));
                Assert.True(Deviation(grey) > 6, $"{icons.Classes[label]} {i} is nearly blank");
                double background = (grey[0] + grey[31] + grey[^1] + grey[^32]) / 4;
                for (int p = 0; p < grey.Length; p++)
                {
                    means[label][p] += Math.Abs(grey[p] - background) / 60;
                }
            }
        }

        for (int a = 0; a < Classes; a++)
        {
            for (int b = 0; b < a; b++)
            {
                double distance = Math.Sqrt(means[a].Zip(means[b], (x, y) => (x - y) * (x - y)).Average());
                Assert.True(distance > 3, $"{icons.Classes[a]} and {icons.Classes[b]} look alike: {distance:0.0} levels");
            }
        }
    }

    [Fact]
    public void A_small_picture_is_the_large_one_averaged()
    {
        const int small = 64, factor = 8;
        var near = new IconDataset(IconSplit.Training, size: small * factor);
        var far = new IconDataset(IconSplit.Training, size: small);
        double smooth = 0, hard = 0;
        for (int i = 0; i < Classes; i++)
        {
            byte[] large = Read(near, i), own = Read(far, i);
            for (int p = 0; p < own.Length; p++)
            {
                (int y, int x, int c) = (p / (3 * small), p / 3 % small, p % 3);
                double mean = 0;
                for (int k = 0; k < factor * factor; k++)
                {
                    mean += large[((((y * factor) + (k / factor)) * small * factor) + (x * factor) + (k % factor)) * 3 + c] / (double)(factor * factor);
                }

                smooth += Math.Abs(own[p] - mean);
                hard += Math.Abs(large[((((y * factor) + (factor / 2)) * small * factor) + (x * factor) + (factor / 2)) * 3 + c] - mean);
            }
        }

        // Without anti-aliasing a small picture would be one pixel of each block of the large one.
        Assert.True(smooth < 0.4 * hard, $"{smooth} against {hard} for hard edges");
    }

    [Fact]
    public void Reading_takes_no_managed_memory()
    {
        var icons = new IconDataset(IconSplit.Training, size: 16);
        byte[] rgb = new byte[16 * 16 * 3];
        ReadAll();
        long before = GC.GetAllocatedBytesForCurrentThread();
        ReadAll();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void ReadAll()
        {
            for (int i = 0; i < 20 * Classes; i++)
            {
                icons.Read(i, rgb);
            }
        }
    }

    [Fact]
    public void Bad_arguments_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new IconDataset(IconSplit.Training, size: 15));
        Assert.Throws<ArgumentOutOfRangeException>(() => new IconDataset(IconSplit.Training, size: 513));
        Assert.Throws<ArgumentOutOfRangeException>(() => new IconDataset(IconSplit.Training, perClass: 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new IconDataset(IconSplit.Training, first: -1));
        var icons = new IconDataset(IconSplit.Training, perClass: 1, size: 16);
        Assert.Throws<ArgumentOutOfRangeException>(() => icons.Read(Classes, new byte[16 * 16 * 3]));
        Assert.Throws<ArgumentOutOfRangeException>(() => icons.Read(-1, new byte[16 * 16 * 3]));
        Assert.Throws<ArgumentOutOfRangeException>(() => icons.Read(0, new byte[16 * 16]));
    }

    private static byte[] Read(IconDataset icons, long index)
    {
        byte[] rgb = new byte[icons.Size * icons.Size * 3];
        icons.Read(index, rgb);
        return rgb;
    }

    private static double[] Grey(byte[] rgb) => [.. rgb.Chunk(3).Select(p => p.Average(v => (double)v))];

    private static double Deviation(IEnumerable<double> values)
    {
        double[] all = [.. values];
        double mean = all.Average();
        return Math.Sqrt(all.Average(v => (v - mean) * (v - mean)));
    }
}
